"""How long and how often a client tries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Bounds of one call, and how it spaces its attempts.

    The defaults outlast the loss of a region behind one domain: health checks need about 30 s to
    see it, and resolvers up to 60 s more to forget it.

    Args:
        timeout_s: Longest time for one call with all its attempts; a wait has its own limit.
        attempts_max: Requests for one call or, while it waits for a job, for one step of it.
        backoff_first_s: The longest first pause; the second is up to twice as long, and so on.
        backoff_max_s: The longest pause that is not asked for by `Retry-After`.
        request_timeout_s: Longest time for one request; API Gateway answers within 29 s.
        connect_timeout_s: Longest time to reach a region before another one is tried.
        cool_down_s: How long a region that failed is left alone while another one works.

    Raises:
        ValueError: A bound is not positive.
    """

    timeout_s: float = 120.0
    attempts_max: int = 20
    backoff_first_s: float = 0.5
    backoff_max_s: float = 15.0
    request_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    cool_down_s: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")

    def pause_s(self, pauses: int, asked_s: float, jitter: float) -> float:
        """How long to pause for the how-manieth time.

        Args:
            pauses: From 1.
            asked_s: What the service asked for; 0 if it did not.
            jitter: From 0 to 1: clients that failed together must not come back together.
        """
        doublings = min(pauses - 1, 30)
        backoff_s = min(self.backoff_max_s, self.backoff_first_s * 2.0**doublings)
        return max(backoff_s * (1 + jitter) / 2, asked_s + self.backoff_first_s * jitter)
