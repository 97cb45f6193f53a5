"""One line for a person out of a pydantic error."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ValidationError


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a pydantic error as one line, with the nearest valid key for an unknown one."""
    # A misspelt key is also a missing one: the misspelling is what a person can mend.
    problem = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        names = sorted(_valid_names(model, problem["loc"][:-1]))
        near = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(names)}"
        return f"unknown key `{where}`; {hint}"
    if problem["type"] == "missing":
        return f"missing key `{where}`"
    message = problem["msg"].removeprefix("Value error, ")
    return f"`{where}`: {message}" if where else message


def _valid_names(model: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Keys that the (nested) model at `location` knows."""
    for part in location:
        if isinstance(part, int):
            continue
        field = next(f for name, f in model.model_fields.items() if part in (name, f.alias))
        nested = _nested_model(field.annotation)
        if nested is not None:
            model = nested
    return {field.alias or name for name, field in model.model_fields.items()}


def _nested_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _nested_model(argument)) is not None:
            return found
    return None
