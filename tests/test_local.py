"""A deployment on this machine, and what is said when a change of it is refused."""

from pathlib import Path
from typing import Any

import pytest

from spillway import local
from spillway.assembly import ROOT, LocalError
from spillway.twin.cloudformation import DeploymentError


class Refuses:
    """A twin that refuses every update, as CloudFormation does a name that is taken."""

    def update(self, _assembly: Path, **_: Any) -> None:
        """Refuse."""
        raise DeploymentError("AWS::SageMaker::Endpoint (B): spillway-dev-chat-v1 already exists")


def test_a_version_that_was_edited_needs_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever edits a version reads what to do, and not the id of a resource alone."""
    monkeypatch.setattr(local, "synthesize", lambda _: Path("cdk.out"))

    with pytest.raises(LocalError, match=r"already exists\. Versions never change: .* chat v1"):
        local.update(Refuses(), ROOT / "config" / "dev.yaml")  # type: ignore[arg-type]
