"""The API's description in OpenAPI 3.1, made of the models that read its requests.

Nothing here runs in AWS: `tools/document_openapi.py` writes the document, and the functions serve
the copy of it that travels with their code.
"""
