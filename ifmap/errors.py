"""Errors of IF-MAP operations, as they go over the wire (IF-MAP 2.2, errorResult)."""

from __future__ import annotations

import enum


class ErrorCode(enum.StrEnum):
    """errorCode of an errorResult."""

    ACCESS_DENIED = "AccessDenied"
    FAILURE = "Failure"
    INVALID_IDENTIFIER = "InvalidIdentifier"
    INVALID_IDENTIFIER_TYPE = "InvalidIdentifierType"
    IDENTIFIER_TOO_LONG = "IdentifierTooLong"
    INVALID_METADATA = "InvalidMetadata"
    INVALID_SCHEMA_VERSION = "InvalidSchemaVersion"
    INVALID_SESSION_ID = "InvalidSessionID"
    METADATA_TOO_LONG = "MetadataTooLong"
    SEARCH_RESULTS_TOO_BIG = "SearchResultsTooBig"
    POLL_RESULTS_TOO_BIG = "PollResultsTooBig"
    SYSTEM_ERROR = "SystemError"


class IfmapError(Exception):
    """An operation was refused. The message is the errorString: one line that says why, fit for a log, no secrets."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class UnreadableAnswer(IfmapError):
    """What a server sent is no answer at all: nobody knows what became of the request. The code is Failure."""

    def __init__(self, text: str) -> None:
        super().__init__(ErrorCode.FAILURE, text)
