"""A real model for Spillway: sentence embeddings on the CPU, behind the SageMaker contract."""

from typing import Final

MODEL: Final = "all-MiniLM-L6-v2"
DIMENSIONS: Final = 384
