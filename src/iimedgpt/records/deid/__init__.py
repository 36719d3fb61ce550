"""De-identification: finding what identifies a person and replacing it."""

from iimedgpt.records.deid.deidentifier import Deidentifier

__all__ = ["Deidentifier"]
