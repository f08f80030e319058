"""Writes docs/configuration.md from the configuration's schema."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.schema import STRONG_SETS, TIERS, Deployment  # noqa: E402 the project's root first

TARGET = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration

Generated from `config/schema.py` by `python tools/document_configuration.py`; a test checks it.

One YAML file describes one deployment: `config/dev.yaml` and `config/prod.yaml` are examples, and
`CONFIG=` (make) or `--config` (spillway) names another. A field that is not in this table is
refused. An error names file, field, what was given and what is allowed. Nothing else decides what
is synthesized: no environment variable, account or network is asked. `{name}` stands for a name
that you choose.

| field | type and range | default | meaning |
| --- | --- | --- | --- |
"""

MEANINGS = {
    # What the schema's own descriptions do not say: those are sentences for error messages.
    "name": "Begins every fixed name in AWS. Exactly one hyphen, so that no deployment's name "
    "begins another's; at most 20 characters.",
    "account": "Where everything is deployed. Synthesis asks nobody else.",
    "retain": "Keep tables, payloads and the logs of functions and API when stacks go, and protect "
    "the stacks that hold them from deletion.",
    "regions": "The serving regions, in the order in which each keeps copies for the one before; "
    "tables are created in the first. Fixed after the first deployment, in number and "
    "order: the tables' stack does not move, a strongly consistent table takes no replica later, "
    "and second copies of inputs would be looked for where they are not.",
    "witness": "A third region that keeps the ledger's log and serves nothing; only with two "
    "serving regions. Fixed after the first deployment.",
    "log_retention_days": "Of functions, API and containers.",
    "replicate_results": "Also copy results to the next region's replica bucket.",
    "requests_per_5_min_per_address": "Above this the firewall answers 429 to an address.",
    "limits.deadline_s_default": "By when a job must have started if its request does not say.",
    "limits.deadline_s_max": "The longest deadline that a request may ask for.",
    "limits.retention_s": "How long a finished job can be read.",
    "limits.wait_s_max": "The longest single wait on one request; API Gateway ends at 29 s.",
    "limits.tenant_rate_per_s": "Submissions a second, in each region.",
    "limits.tenant_in_flight_max": "Unfinished jobs, in each region.",
    "concurrency.wait": "Clients that can wait at once, in each region; further ones get 202. "
    "Two fifths of the places are anybody's; of the others a tenant has a sixth at most.",
    "concurrency.dispatch": "Dispatchers at once.",
    "concurrency.complete": "Executions that commit results at once.",
    "concurrency.beat": "Beats at once: one is for the minute's tick, and of the others one "
    "may still run when the next begins.",
    "concurrency.sweep": "Sweeps at once: one every minute, and eight that take over the jobs of "
    "a region that is lost.",
    "concurrency.release": "Executions that decide about releases: one every minute, and one when "
    "a guard alarm fires.",
    "domain": "Route 53 leads clients to a healthy region by one name, and each region has its own "
    "name besides; without it, clients choose between the regional URLs.",
    "domain.name": "What clients use; `REGION.NAME` leads to one region. At most 64 characters.",
    "domain.zone_id": "An existing public hosted zone of Route 53 that holds the names.",
    "domain.zone_name": "That zone's own name: all of `domain.name`, or its end.",
    "domain.policy": "`latency`: every client gets the nearest healthy region. `failover`: the "
    "first healthy one in the order of `regions`.",
    "alarms.emails": "Who gets the alarms of every region; each address confirms once for each.",
    "alarms.runbook": "Where people read docs/runbook.md, as `config/prod.yaml` shows; without it "
    "alarms name the file. Their messages link to its sections.",
    "alarms.wait_multiples.interactive": "Times the tier's target that its oldest job may wait, "
    "for longer than instances take to come.",
    "alarms.wait_multiples.standard": "The same.",
    "alarms.wait_multiples.batch": "The same.",
    "alarms.starved_below": "Part of its guaranteed share below which a tier starves.",
    "alarms.refused_keys_per_minute": "Requests with keys that are unknown or revoked, for five "
    "minutes.",
    "alarms.failed_webhooks_share": "Part of the tries to deliver webhooks.",
    "tiers": f"Exactly {', '.join(TIERS)}.",
    "tiers.{name}.target_wait_s": "The wait that the tier aims at; `GET /v1/capacity` shows it "
    "beside the prediction.",
    "tiers.{name}.share_min": "Part of all starts that the tier gets while it has work.",
    "models": "At most 50, in every region.",
    "models.{name}.state": "`live` takes jobs; `draining` runs those it has and takes no more; "
    "`off` keeps the queues and has no endpoints.",
    "models.{name}.wanted": "The version that gets the jobs; one of `versions`.",
    "models.{name}.versions": "At most 10. Each has an endpoint of its own with at least one "
    "instance, until it is taken out of the list.",
    "models.{name}.versions.{name}.image": "The container; each region pulls from its own "
    "registry.",
    "models.{name}.versions.{name}.artifact": "Where the weights come from: exactly one of `s3` "
    "and `hub`.",
    "models.{name}.versions.{name}.artifact.s3": "The archive with the weights; every region "
    "reads its own copy.",
    "models.{name}.versions.{name}.artifact.directory": "Where the archive comes from: `spillway "
    "model register` packs and uploads it.",
    "models.{name}.versions.{name}.artifact.hub": "A repository of the Hugging Face hub: the "
    "container gets `HF_MODEL_ID` and `HF_REVISION`.",
    "models.{name}.versions.{name}.artifact.revision": "The commit in the hub; required with it.",
    "models.{name}.versions.{name}.environment": "Variables of the container.",
    "models.{name}.versions.{name}.secrets": "ARNs of secrets by variable: the container gets "
    "`NAME_SECRET_ARN` and may read that secret; it must fetch it itself, which stock images of "
    "AWS do not do.",
    "models.{name}.versions.{name}.instance_type": "What SageMaker starts, like `ml.g5.xlarge`.",
    "models.{name}.versions.{name}.volume_gb": "Disk; only for types without disks of their own.",
    "models.{name}.versions.{name}.startup_timeout_s": "Longest download of the weights, and "
    "longest start of the container.",
    "models.{name}.versions.{name}.inference_ami": "SageMaker's `InferenceAmiVersion`.",
    "models.{name}.versions.{name}.service": "Expected seconds of one job: overhead + input "
    "tokens / rate + output tokens x time. Slots, waits and prices follow from a typical job.",
    "models.{name}.versions.{name}.package": "The version's model package in SageMaker's registry: "
    "it is released only while that is `Approved` and has this image and these weights.",
    "models.{name}.versions.{name}.service.overhead_s": "Of every job.",
    "models.{name}.versions.{name}.service.input_tokens_per_s": "How fast input is read.",
    "models.{name}.versions.{name}.service.output_token_s": "Seconds for one token of output.",
    "models.{name}.versions.{name}.service.input_tokens_typical": "Of a typical job.",
    "models.{name}.versions.{name}.service.output_tokens_typical": "Of a typical job.",
    "models.{name}.warm_up_s": "Seconds from asking for an instance to its first answer.",
    "models.{name}.handoff_s": "Seconds from invoking to the start of the work; decides how many "
    "jobs more than places are handed over.",
    "models.{name}.instances_min": "Fewest instances in each region of the version that answers, "
    "and of the wanted one unless it is in quarantine. An endpoint begins with 1.",
    "models.{name}.instances_max": "Most instances in each region.",
    "cost_hourly_max_usd": "What the instances may cost an hour when every version in every "
    "region has its `instances_max`: more is refused. A monthly budget of 730 such hours watches.",
    "models.{name}.versions.{name}.usd_per_hour": "What an instance costs, where it is not the "
    "list price of `config/instances.yaml`.",
    "models.{name}.scaling.schedule": "Other minimums by the clock, each from its time on until "
    "the next one's; `instances_min` holds where none has come within a year.",
    "models.{name}.scaling.schedule[].cron": "When, in the six fields of Application Auto Scaling: "
    "minute, hour, day, month, weekday (SUN is 1), year. Numbers, names, `*`, ranges, lists and "
    "steps; `?` as day or as weekday; not L, W or #.",
    "models.{name}.scaling.schedule[].timezone": "Of that time.",
    "models.{name}.scaling.schedule[].instances_min": "Fewest instances in each region from then "
    "on.",
    "models.{name}.network": "Existing subnets and security groups for the containers, for every "
    "region or none.",
    "models.{name}.network.{name}.subnets": "Their ids.",
    "models.{name}.network.{name}.security_groups": "Their ids.",
    "models.{name}.invocation_timeout_s": "Longest run of one attempt.",
    "models.{name}.request_ttl_s": "Longest stay in SageMaker's own queue.",
    "models.{name}.attempts_max": "Attempts before a job fails.",
    "models.{name}.retry_delay_s": "Before the second attempt; doubles with every further one.",
    "models.{name}.input_bytes_max": "Largest input, as compact JSON.",
    "models.{name}.guards": "From when on a version is taken back; null turns a guard off. Every "
    "version has alarms of its own in each region.",
    "models.{name}.guards.window_s": "So much of the past is looked at, every minute; whole "
    "minutes.",
    "models.{name}.guards.attempts_min": "With fewer attempts in that time nothing is "
    "concluded, of the version or of the live one that it is compared with. With several versions, "
    "at most what a canary of one tier can end in that time beside a fleet that is busy.",
    "models.{name}.guards.failed_share_max": "Of the attempts, those that failed for whatever "
    "reason.",
    "models.{name}.guards.slow_ratio_max": "95th percentile of the service time / the live "
    "version's, tier by tier; of only `attempts_min` attempts twice as much, of very many just so.",
    "models.{name}.guards.service_p95_s_max": "Seconds, of the same percentile: also for the live "
    "version itself, which has nothing to be compared with.",
    "models.{name}.guards.invalid_share_max": "Of the attempts, answers that are no JSON or do not "
    "match `output.schema`.",
    "models.{name}.guards.refused_share_max": "Of the attempts, refusals by `output.refusal`.",
    "models.{name}.guards.size_ratio_max": "Median size of an answer / the live version's, or the "
    "inverse, as for `slow_ratio_max`.",
    "models.{name}.output": "What the model promises of its answers, if more than JSON. Answers of "
    "more than 256 KiB are not judged. Judging takes complete 1,024 MB of memory.",
    "models.{name}.release": "How a new version takes over, region by region; docs/releases.md "
    "tells of each step.",
    "models.{name}.release.canary_share": "Its part of a tier's jobs while it is on trial.",
    "models.{name}.release.bake_s": "How long each step of the canary is watched: at least, and if "
    "left out, 60 more than the larger one of `guards.window_s` and `invocation_timeout_s`.",
    "models.{name}.release.final_bake_s": "How long a region runs wholly on it before the next "
    "region begins; at least as long, and if left out at least 900.",
    "models.{name}.release.smoke": "Inputs of jobs that it must answer in each region before it "
    "gets any of a client's; at most 10, each at most 2,560 bytes when compressed. Without them "
    "an idle fleet is not judged.",
    "models.{name}.output.schema": "JSON Schema (2020-12) of an answer, at most 16,384 bytes of "
    "JSON; `$ref` leads to places within it only. Texts and lists of more than 1,000 characters "
    "or items are not held against `pattern` and `uniqueItems`; `format` is not asserted.",
    "models.{name}.output.refusal": "How to tell that the model refused to answer: by exactly one "
    "of `equals` and `pattern`.",
    "models.{name}.output.refusal.pointer": "JSON pointer to the value that tells it.",
    "models.{name}.output.refusal.equals": "The value that means a refusal.",
    "models.{name}.output.refusal.pattern": "A regular expression, searched in the text's first "
    "1,000 characters.",
    "models.{name}.output.on_invalid": "`fail`: the attempt fails with `invalid_output` and is "
    "tried again like any other. `count`: the answer is committed, and only the guard sees it.",
    "models.{name}.output.on_refused": "`refuse`: the job ends as `refused`. `count`: the answer "
    "is committed, and only the guard sees it.",
}

TAIL = f"""
## Rules between fields

- `regions` is one region, three, or two and a `witness`, all in one of the sets that a strongly
  consistent table may span: {"; ".join(", ".join(sorted(zone)) for zone in STRONG_SETS)}.
- `share_min` of the tiers adds up to at most 1, and `target_wait_s` does not fall from
  {" to ".join(TIERS)}.
- `deadline_s_default` is at most `deadline_s_max`; `instances_min` at most `instances_max`.
- `instances_max` x `concurrency` is at most 8,000: the jobs at a time of a model in one region.
- `requests_per_5_min_per_address` is at least 300 x `limits.tenant_rate_per_s`, or the firewall
  would stop a tenant that keeps to its rate.
- `artifact` has exactly one of `s3` and `hub`; `revision` goes with `hub`, `directory` with `s3`,
  and `s3` contains `{{region}}`.
- `domain.name` is `domain.zone_name` or lies below it; `domain.policy: failover` needs two or three
  regions.
- No two versions may have the same endpoint name, DEPLOYMENT-MODEL-VERSION.

A tenant's own limits go before `limits`: `spillway tenant add` and `set` set them.
"""


def document() -> str:
    """The page.

    Raises:
        ValueError: A field has no meaning here, or a meaning no field.
    """
    schema = Deployment.model_json_schema()
    seen: set[str] = set()
    rows = _rows(schema, schema.get("$defs", {}), "", seen)
    if unused := sorted(set(MEANINGS) - seen):
        raise ValueError(f"the schema has no field {', '.join(unused)}")
    return HEAD + "".join(rows) + TAIL


def _rows(node: dict[str, Any], defs: dict[str, Any], prefix: str, seen: set[str]) -> list[str]:
    rows: list[str] = []
    required = set(node.get("required", []))
    for name, raw in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        field, inner, inner_prefix = _inside(raw, defs, path)
        seen.add(path)
        rows.append(_row(path, raw, field, required=name in required))
        if inner is not None:
            rows += _rows(inner, defs, f"{inner_prefix}.", seen)
    return rows


def _inside(
    raw: dict[str, Any], defs: dict[str, Any], path: str
) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    field = _resolve(raw, defs)
    if "properties" in field:
        return field, field, path
    values = field.get("additionalProperties") or next(
        iter(field.get("patternProperties", {}).values()), None
    )
    if isinstance(values, dict):
        inner = _resolve(values, defs)
        if "properties" in inner:
            return field, inner, f"{path}.{{name}}"
    items = _resolve(field.get("items", {}), defs)
    if "properties" in items:
        return field, items, f"{path}[]"
    return field, None, path


def _resolve(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return dict(defs[node["$ref"].rpartition("/")[2]]) | {
            key: value for key, value in node.items() if key != "$ref"
        }
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolve(options[0], defs) | {"default": node.get("default")}
    return node


def _row(path: str, raw: dict[str, Any], field: dict[str, Any], *, required: bool) -> str:
    default = "required" if required else _default(raw.get("default"))
    own = str(raw.get("description") or field.get("description") or "").split("\n\n")[0]
    meaning = " ".join(MEANINGS.get(path, own).split()).replace("|", "\\|")
    if not meaning:
        raise ValueError(f"say what {path} means")
    return f"| `{path}` | {_range(field)} | {default} | {meaning} |\n"


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict | list):
        return "its fields' own" if value else "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _range(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    options = field.get("anyOf", [field])
    kinds = [str(option.get("type", "")) for option in options if option.get("type") != "null"]
    kind = ", ".join({"object": "mapping", "array": "list"}.get(each, each) for each in kinds)
    bounds = [
        f"{sign} {field[name]}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
            ("minItems", "at least"),
            ("maxItems", "at most"),
        )
        if name in field
    ]
    pattern = f" `{field['pattern']}`".replace("|", "\\|") if "pattern" in field else ""
    return " ".join([kind, ", ".join(bounds)]).strip() + pattern


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
