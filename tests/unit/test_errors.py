import re
from typing import get_args

from lib import errors, personas
from local.paths import REPOSITORY


def every_problem(of: type[errors.Problem] = errors.Problem) -> list[type[errors.Problem]]:
    return [of, *(below for child in of.__subclasses__() for below in every_problem(child))]


def test_the_tree_in_the_docstring_names_every_error_and_its_code() -> None:
    assert errors.__doc__ is not None
    own = [problem for problem in every_problem() if problem.__module__ == errors.__name__]
    assert len(own) > 10
    for problem in own:
        assert problem.__name__ in errors.__doc__
        if "code" in vars(problem) and problem is not errors.Problem:
            assert problem.code in errors.__doc__, problem


def test_every_code_has_one_status() -> None:
    statuses: dict[str, int] = {}
    for problem in every_problem():
        if "code" not in vars(problem):
            continue
        assert statuses.setdefault(problem.code, problem.status) == problem.status


def test_a_document_has_the_members_of_rfc_9457_and_the_code_and_further_ones_replace_none_of_them() -> None:
    extra = {"limit": "arrivals", "status": 200, "code": "fine", "type": "x"}
    problem = errors.Refused(429, "rate_limited", retry_after=7, detail="Slow down.", extra=extra)
    assert problem.document() == {
        "type": "about:blank",
        "title": "Too many requests.",
        "status": 429,
        "code": "rate_limited",
        "detail": "Slow down.",
        "retry_after": 7,
        "limit": "arrivals",
    }
    assert problem.response_headers() == {"Retry-After": "7"}


def test_every_failure_of_a_persona_can_be_shown() -> None:
    assert set(get_args(personas.ErrorCode)) <= set(errors.FAILURES)


def test_a_refusal_that_ends_a_stream_is_final_and_an_unknown_failure_is_shown_as_an_internal_error() -> None:
    assert errors.failure("turn_not_found") == errors.Failure("There is no such turn.", retryable=False)
    assert errors.failure("never_heard_of") is errors.FAILURES["internal_error"]
    assert errors.failure(None) is errors.FAILURES["internal_error"]


def test_every_code_and_reason_that_sql_raises_has_its_sentence() -> None:
    sql = "\n".join(file.read_text() for file in (REPOSITORY / "supabase" / "schemas").glob("*.sql"))
    codes = {*re.findall(r"raise sqlstate 'PT\d+' using message = '(\w+)'", sql), *re.findall(r"'code', '(\w+)'", sql)}
    reasons = {*re.findall(r"using message = '\w+', detail = '(\w+)'", sql)}
    own = {"too_many_matches", "not_found", "invalid_body", "contact_merged", "lease_expired", *errors.FAILURES}

    assert codes - own <= set(errors.TITLES)
    assert reasons == set(errors.REASONS)


def test_every_lost_connection_is_caught_as_one_of_the_same_errors() -> None:
    named = {
        file.relative_to(REPOSITORY).as_posix()
        for folder in ("lib", "local", "cli", "functions")
        for file in (REPOSITORY / folder).rglob("*.py")
        if re.search(r"except.*asyncpg\.Inter|^\w+ = .*asyncpg\.Inter", file.read_text(), re.MULTILINE)
    }
    assert named == {"lib/database/failures.py"}
