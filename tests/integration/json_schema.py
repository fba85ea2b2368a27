"""The part of JSON Schema 2020-12 that api/openapi.json uses. A keyword that is not here is an
error, so that nothing goes unchecked."""

import re

PASSED_OVER = {"description", "default", "contentEncoding", "contentMediaType"}
TYPES = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and value == int(value),
    "number": lambda value: is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def resolve(root, node):
    """What a $ref stands for, or the node itself."""
    while "$ref" in node:
        place, path = root, node["$ref"]
        assert path.startswith("#/") and set(node) == {"$ref"}, node
        for step in path[2:].split("/"):
            place = place[step]
        node = place
    return node


def errors(root, schema, value, at="$"):
    """What is wrong with the value, a list of texts."""
    schema = resolve(root, schema)
    found = []
    for keyword, wanted in schema.items():
        if keyword not in PASSED_OVER:
            found += KEYWORDS[keyword](root, schema, wanted, value, at)
    return found


def check_type(root, schema, wanted, value, at):
    kinds = wanted if isinstance(wanted, list) else [wanted]
    fits = any(TYPES[kind](value) for kind in kinds)
    return [] if fits else [f"{at}: {value!r} is not of type {wanted}"]


def check_enum(root, schema, wanted, value, at):
    fits = any(value == each and type(value) is type(each) for each in wanted)
    return [] if fits else [f"{at}: {value!r} is none of {wanted}"]


def check_pattern(root, schema, wanted, value, at):
    fits = not isinstance(value, str) or re.search(wanted, value)
    return [] if fits else [f"{at}: {value!r} does not match {wanted}"]


def bound(size, fits):
    """A keyword that compares a size (None: not of that type) with a number."""

    def check(root, schema, wanted, value, at):
        measured = size(value)
        if measured is None or fits(measured, wanted):
            return []
        return [f"{at}: {value!r} is out of the bound {wanted}"]

    return check


def number_of(value):
    return value if is_number(value) else None


def length_of(value):
    return len(value) if isinstance(value, str) else None


def count_of(value):
    return len(value) if isinstance(value, list) else None


def check_items(root, schema, wanted, value, at):
    found = []
    for i, each in enumerate(value if isinstance(value, list) else []):
        found += errors(root, wanted, each, f"{at}[{i}]")
    return found


def check_required(root, schema, wanted, value, at):
    if not isinstance(value, dict):
        return []
    return [f"{at}: {name} is missing" for name in wanted if name not in value]


def check_properties(root, schema, wanted, value, at):
    found = []
    for name in wanted if isinstance(value, dict) else []:
        if name in value:
            found += errors(root, wanted[name], value[name], f"{at}.{name}")
    return found


def check_additional(root, schema, wanted, value, at):
    assert wanted is False
    if not isinstance(value, dict):
        return []
    return [f"{at}: {name} is unknown" for name in value if name not in schema["properties"]]


def combined(enough):
    def check(root, schema, wanted, value, at):
        each = [errors(root, one, value, at) for one in wanted]
        fitting = sum(not one for one in each)
        return [] if enough(fitting, len(each)) else [f"{at}: {fitting} of {each}"]

    return check


KEYWORDS = {
    "type": check_type,
    "enum": check_enum,
    "pattern": check_pattern,
    "minimum": bound(number_of, lambda size, limit: size >= limit),
    "maximum": bound(number_of, lambda size, limit: size <= limit),
    "minLength": bound(length_of, lambda size, limit: size >= limit),
    "maxLength": bound(length_of, lambda size, limit: size <= limit),
    "minItems": bound(count_of, lambda size, limit: size >= limit),
    "maxItems": bound(count_of, lambda size, limit: size <= limit),
    "items": check_items,
    "required": check_required,
    "properties": check_properties,
    "additionalProperties": check_additional,
    "allOf": combined(lambda fitting, count: fitting == count),
    "anyOf": combined(lambda fitting, count: fitting >= 1),
    "oneOf": combined(lambda fitting, count: fitting == 1),
}
