"""The pydantic base of every configuration in ScaleFuse."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """A frozen configuration that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
