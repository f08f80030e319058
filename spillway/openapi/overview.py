"""What a region offers, how it is, and this document."""

from spillway.openapi.answers import Capacity, Description, Health, Model, ModelList, Unhealthy
from spillway.openapi.shape import Answer, Header, Operation, Parameter

ETAG = Header(name="ETag", schema={"type": "string"}, says="Of this document.", always=True)

OPERATIONS = (
    Operation(
        route="GET /v1/models",
        name="listModels",
        group="Models",
        summary="The models and tiers that the key may use",
        answers=(Answer(status=200, says="All of them.", body=ModelList),),
    ),
    Operation(
        route="GET /v1/models/{id}",
        name="getModel",
        group="Models",
        summary="One model",
        parameters=(
            Parameter(
                name="id",
                place="path",
                schema={"type": "string", "minLength": 1, "maxLength": 64},
                says="The model's name.",
            ),
        ),
        answers=(Answer(status=200, says="The model.", body=Model),),
        refusals=("no_model", "not_allowed"),
    ),
    Operation(
        route="GET /v1/capacity",
        name="getCapacity",
        group="Models",
        summary="The wait to expect now, by model and tier",
        answers=(Answer(status=200, says="As this region sees it.", body=Capacity),),
    ),
    Operation(
        route="GET /v1/openapi.json",
        name="describe",
        group="Service",
        summary="This document",
        parameters=(
            Parameter(
                name="If-None-Match",
                place="header",
                schema={"type": "string"},
                says="The ETag of the document that is there already.",
            ),
        ),
        answers=(
            Answer(status=200, says="The document.", body=Description, headers=(ETAG,)),
            Answer(status=304, says="It is the one that is there already.", headers=(ETAG,)),
        ),
        open=True,
    ),
    Operation(
        route="GET /health/live",
        name="isLive",
        group="Service",
        summary="The API answers",
        answers=(Answer(status=200, says="It does.", body=Health),),
        open=True,
    ),
    Operation(
        route="GET /health/ready",
        name="isReady",
        group="Service",
        summary="The region can take and run jobs",
        says="As it saw itself at most 30 s ago.",
        answers=(
            Answer(status=200, says="It can.", body=Health),
            Answer(status=503, says="It cannot.", body=Unhealthy),
        ),
        open=True,
    ),
)
