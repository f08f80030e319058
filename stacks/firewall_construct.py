"""The firewall before a region's API: floods and known bad addresses, never the body."""

from typing import Any

from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from config.schema import Deployment
from stacks.api_construct import error_body

BODY_RULES = (
    "CrossSiteScripting_BODY",
    "EC2MetaDataSSRF_BODY",
    "GenericLFI_BODY",
    "GenericRFI_BODY",
    "SizeRestrictions_BODY",
)
"""Rules of AWS's core rule set that look into bodies.

Prompts hold code, markup and addresses, and are longer than the 8 KB that the set allows.
"""


class Firewall(Construct):
    """A web ACL and its association with the API's stage."""

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, stage_arn: str
    ) -> None:
        super().__init__(scope, construct_id)
        acl = waf.CfnWebACL(
            self,
            "Acl",
            name=deployment.names.api,
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visibility(deployment, "acl"),
            custom_response_bodies={
                "flood": waf.CfnWebACL.CustomResponseBodyProperty(
                    content_type="APPLICATION_JSON",
                    content=error_body(
                        "rate_limit_error",
                        "rate_limit",
                        "Too many requests from this address; try again in a minute.",
                    ),
                )
            },
            rules=[
                _flood(deployment),
                _managed(deployment, 1, "reputation", "AWSManagedRulesAmazonIpReputationList"),
                _managed(deployment, 2, "core", "AWSManagedRulesCommonRuleSet", counted=BODY_RULES),
            ],
        )
        waf.CfnWebACLAssociation(
            self, "Association", resource_arn=stage_arn, web_acl_arn=acl.attr_arn
        )


def _visibility(deployment: Deployment, name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True,
        # Metrics of all web ACLs of an account lie side by side, and WAF keeps `All` and
        # `Default_Action` for itself (WAF API reference, VisibilityConfig).
        metric_name=f"{deployment.name}-{name}",
        # Samples show headers, and with them API keys, to whoever may open the console.
        sampled_requests_enabled=False,
    )


def _flood(deployment: Deployment) -> waf.CfnWebACL.RuleProperty:
    return waf.CfnWebACL.RuleProperty(
        name="flood",
        priority=0,
        action=waf.CfnWebACL.RuleActionProperty(
            block=waf.CfnWebACL.BlockActionProperty(
                custom_response=waf.CfnWebACL.CustomResponseProperty(
                    response_code=429,
                    custom_response_body_key="flood",
                    response_headers=[
                        waf.CfnWebACL.CustomHTTPHeaderProperty(name="Retry-After", value="60")
                    ],
                )
            )
        ),
        statement=waf.CfnWebACL.StatementProperty(
            rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP",
                limit=deployment.requests_per_5_min_per_address,
                evaluation_window_sec=300,
            )
        ),
        visibility_config=_visibility(deployment, "flood"),
    )


def _managed(
    deployment: Deployment,
    priority: int,
    name: str,
    group: str,
    *,
    counted: tuple[str, ...] = (),
) -> waf.CfnWebACL.RuleProperty:
    overrides: list[Any] = [
        waf.CfnWebACL.RuleActionOverrideProperty(
            name=rule, action_to_use=waf.CfnWebACL.RuleActionProperty(count={})
        )
        for rule in counted
    ]
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(
            managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS", name=group, rule_action_overrides=overrides or None
            )
        ),
        visibility_config=_visibility(deployment, name),
    )
