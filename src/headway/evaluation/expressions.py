"""Conditions on a table's columns, such as ``length > 2000 and label == "negative"``.

An expression has the syntax of Python but is never executed: it is parsed, and only names of columns, constants, comparisons,
``in``, ``and``, ``or``, ``not`` and arithmetic are accepted, which Arrow's functions compute.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import HeadwayError
from headway.params import nearest

COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}
GRAMMAR = "expected columns, numbers, strings, comparisons, in, and, or, not, + - * /"


def mask_of(expression: str, columns: Mapping[str, pa.ChunkedArray], where: str) -> np.ndarray:
    """The rows for which a condition is true, bool, (rows,); it is false where a value is missing. ``where`` is its key.

    The name of a boolean column is a condition. ``"word" in text`` is true for texts that contain the word, and
    ``label in ["a", "b"]`` for labels in the list. Strings in a column are read as numbers if compared with a number.

    HeadwayError if the expression is not a condition, or names a column that does not exist.
    """
    with _refusals(expression, where):
        result = _value(ast.parse(expression.strip(), mode="eval").body, columns)
        if not isinstance(result, pa.ChunkedArray) or not pa.types.is_boolean(result.type):
            raise _InvalidExpression("not a condition; expected a comparison or a boolean column")
    return np.asarray(pc.fill_null(result, False).to_numpy(), dtype=bool)


@contextmanager
def _refusals(expression: str, where: str) -> Iterator[None]:
    """Turn any error that an invalid expression causes into one line."""
    try:
        yield
    except _InvalidExpression as error:
        raise HeadwayError(f"{where}: {expression!r}: {error}") from None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, pa.ArrowException) as error:
        reason = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise HeadwayError(f"{where}: {expression!r}: {reason or type(error).__name__}; {GRAMMAR}") from None


def _no_column(name: str, known: Sequence[str]) -> str:
    return f"no column {name!r}; {nearest(name, list(known))}"


class _InvalidExpression(Exception):
    """The reason why an expression cannot be evaluated."""


def _value(node: ast.expr, columns: Mapping[str, pa.ChunkedArray]) -> Any:
    """The value of a node, as Arrow's: a column, an array for a list of constants, or a scalar."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return pa.scalar(constant)
        case ast.Name(id=name):
            if name not in columns:
                raise _InvalidExpression(_no_column(name, list(columns)))
            return columns[name]
        case ast.List() | ast.Tuple():
            try:
                return pa.array(ast.literal_eval(node))
            except ValueError:
                raise _InvalidExpression(f"{ast.unparse(node)!r}: a name in a list is not supported; {GRAMMAR}") from None
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_value(operand, columns))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return pc.negate(_number(_value(operand, columns)))
        case ast.BoolOp(op=op, values=operands):
            join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            return reduce(join, [_value(operand, columns) for operand in operands])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_number(_value(left, columns)), _number(_value(right, columns)))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_value(one, columns) for one in (left, *comparators)]
            return reduce(pc.and_kleene, map(_compared, ops, sides, sides[1:]))
    raise _InvalidExpression(f"{ast.unparse(node)!r} is not supported; {GRAMMAR}")


def _compared(op: ast.cmpop, left: Any, right: Any) -> Any:
    """The result of one comparison."""
    if isinstance(op, ast.In | ast.NotIn):
        if isinstance(right, pa.Array):
            found = pc.is_in(_number(left), _number(right)) if _is_number(right) else pc.is_in(left, right.cast(left.type))
        elif isinstance(left, pa.StringScalar):
            found = pc.match_substring(right, left.as_py())
        else:
            raise _InvalidExpression('expected a list after in, or a string before it, such as "word" in text')
        return pc.invert(found) if isinstance(op, ast.NotIn) else found
    if type(op) not in COMPARISONS:
        raise _InvalidExpression(f"{type(op).__name__} is not supported; {GRAMMAR}")
    if _is_number(left) or _is_number(right):
        return COMPARISONS[type(op)](_number(left), _number(right))
    return COMPARISONS[type(op)](left, right)


def _is_number(value: Any) -> bool:
    return bool(pa.types.is_integer(value.type) or pa.types.is_floating(value.type))


def _number(value: Any) -> Any:
    """A value as float64; strings are parsed."""
    try:
        return value.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _InvalidExpression(f"expected a number ({' '.join(str(error).split())})") from None
