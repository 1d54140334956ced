"""How somebody is refused: 401 where it is not known who they are, 403 where it is and they may not."""

from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError


def unauthorized(detail: str, *, invalid: bool = False) -> ProblemError:
    """401: nobody, or a credential that is none (any more).

    Args:
        detail: what happened and what to do.
        invalid: whether there was a credential.
    """
    challenge = 'Bearer error="invalid_token"' if invalid else "Bearer"
    return ProblemError(401, "unauthorized", detail, {"WWW-Authenticate": challenge})


def forbidden(detail: str) -> ProblemError:
    """403: known, and not allowed to."""
    return ProblemError(403, "forbidden", detail)


def not_yet(detail: str) -> ProblemError:
    """503: whether a credential is good cannot be told at the moment."""
    return ProblemError(503, "access_unknown", detail, {"Retry-After": str(RETRY_AFTER_SECONDS)})
