"""Vectors in compiled code: a numba type whose values are LLVM vectors, one signal per lane.

A vector fills a register of the processor. It takes the operators of Python, also with numbers, which then stand in all
lanes; comparisons give masks for ``where``. A tuple of vectors holds neighbours of a signal, or the derivatives of a
filter.

Arrays of numbers are addressed in vectors by ``load`` and ``store``, and should begin with a cache line. Inner
functions take pointers to them: what numba knows of an array makes their code long, and compiling slow.
"""

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import NumbaTypeError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, overload, register_model

from schemenets.fluxes import where

# of a vector: those of a register; LLVM splits it where there are only shorter ones
BYTES = 64 if get_host_cpu_features().get("avx512f") else 32
LINE = 64  # bytes of a cache line
FLAGS = ("nsz", "arcp", "contract")  # neither "nnan" nor "ninf": a diverging network has to show
# of compiled functions, whose sums may be reordered
OPTIONS: dict[str, Any] = {"fastmath": {"nsz", "arcp", "contract", "reassoc"}, "error_model": "numpy"}
# of those that only compiled functions call
INNER: Any = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": False}
INLINE: dict[str, Any] = INNER | {"forceinline": True}
INDEX: Any = ir.IntType(64)  # of numba's intp


def lanes(dtype: Any) -> int:
    """How many numbers of this type a vector has."""
    return BYTES // np.dtype(dtype).itemsize


def aligned(count: int, dtype: Any) -> np.ndarray:
    """So many vectors of zeros, from the beginning of a cache line on."""
    numbers = np.zeros(count * lanes(dtype) + LINE // np.dtype(dtype).itemsize, dtype)
    start = -numbers.ctypes.data % LINE // numbers.itemsize
    return numbers[start : start + count * lanes(dtype)]


class Vector(types.Type):
    """As many numbers as :data:`BYTES` hold."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.lanes = dtype, BYTES * 8 // dtype.bitwidth
        self.element = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
        self.llvm = ir.VectorType(self.element, self.lanes)
        super().__init__(f"Vector({dtype})")


class Mask(types.Type):
    """A truth value for every lane."""

    def __init__(self, of: Vector) -> None:
        self.of, self.llvm = of, ir.VectorType(ir.IntType(1), of.lanes)
        super().__init__(f"Mask({of.dtype})")


@register_model(Vector)
@register_model(Mask)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.llvm)


def _splat(builder: Any, kind: Any, number: Any) -> Any:
    """A number everywhere in a vector of LLVM's type ``kind``."""
    nothing, zeros = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    return builder.shuffle_vector(builder.insert_element(nothing, number, ir.IntType(32)(0)), nothing, zeros)


def _vector_of(kinds: Any) -> Any:
    return next((kind for kind in kinds if isinstance(kind, Vector)), None)


@lower_cast(types.Number, Vector)
def _cast(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return _splat(builder, target.llvm, context.cast(builder, value, source, target.dtype))


def _define(function: Any, code: Any, count: int = 2, compares: bool = False) -> None:
    """An operator of Python for vectors, and for vectors with numbers."""

    @infer_global(function)
    class Typing(AbstractTemplate):
        key = function

        def generic(self, arguments: Any, keywords: Any) -> Any:
            kind = _vector_of(arguments)
            fitting = all(a == kind or isinstance(a, types.Number | types.Literal) for a in arguments)
            if kind is None or not fitting:
                return None
            return signature(Mask(kind) if compares else kind, *[kind] * count)

    @lower_builtin(function, *[Vector] * count)
    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return code(builder, *arguments)


def _arithmetic(name: str) -> Any:
    return lambda builder, *arguments: getattr(builder, name)(*arguments, flags=FLAGS)


def _comparison(sign: str) -> Any:
    return lambda builder, x, y: builder.fcmp_ordered(sign, x, y)  # false for NaN


for _name in ("add", "sub", "mul", "truediv"):
    for _prefix in ("", "i"):
        _define(getattr(operator, _prefix + _name), _arithmetic("f" + _name.removeprefix("true")))
for _name, _sign in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}.items():
    _define(getattr(operator, _name), _comparison(_sign), compares=True)
_define(operator.neg, lambda builder, x: builder.fneg(x), count=1)


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """A function of LLVM on vectors."""
    kind = arguments[0].type
    suffix = f"v{kind.count}f{32 if kind.element == ir.FloatType() else 64}"
    of_kind = ir.FunctionType(kind, [kind] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, of_kind, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=FLAGS)


@intrinsic
def alone(context: Any) -> Any:
    """The function that begins with this is compiled once, and not again in every other one that calls it."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def fma(context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z."""
    return x(x, x, x), lambda context, builder, sig, arguments: _call(builder, "fma", *arguments)


@intrinsic
def sqrt(context: Any, x: Any) -> Any:
    """Lane by lane."""
    return x(x), lambda context, builder, sig, arguments: _call(builder, "sqrt", *arguments)


@intrinsic
def floor(context: Any, x: Any) -> Any:
    """Lane by lane."""
    return x(x), lambda context, builder, sig, arguments: _call(builder, "floor", *arguments)


@intrinsic
def absolute(context: Any, x: Any) -> Any:
    """Lane by lane."""
    return x(x), lambda context, builder, sig, arguments: _call(builder, "fabs", *arguments)


@intrinsic
def power_of_two(context: Any, n: Any) -> Any:
    """2^n of whole numbers n, through their exponent bits."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        bits = np.finfo(f"float{n.dtype.bitwidth}").nmant
        width = n.dtype.bitwidth
        integers = ir.VectorType(ir.IntType(width), n.lanes)
        bias, shift = (ir.Constant(integers, [value] * n.lanes) for value in (2 ** (width - bits - 2) - 1, bits))
        exponent = builder.add(builder.fptosi(arguments[0], integers), bias)
        return builder.bitcast(builder.shl(exponent, shift), n.llvm)

    return n(n), code


@intrinsic
def _select(context: Any, mask: Any, x: Any, y: Any) -> Any:
    code = lambda context, builder, sig, arguments: builder.select(*arguments)  # noqa: E731
    return mask.of(mask, mask.of, mask.of), code


@intrinsic
def vector(context: Any, number: Any) -> Any:
    """A number in all lanes."""
    kind = Vector(number)
    return kind(number), lambda context, builder, sig, arguments: _splat(builder, kind.llvm, arguments[0])


@intrinsic
def lane(context: Any, x: Any, index: Any) -> Any:
    """The number in one lane."""
    code = lambda context, builder, sig, arguments: builder.extract_element(*arguments)  # noqa: E731
    return x.dtype(x, types.intp), code


@intrinsic
def with_lane(context: Any, x: Any, index: Any, number: Any) -> Any:
    """The vector with another number in one lane."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.insert_element(arguments[0], arguments[2], arguments[1])

    return x(x, types.intp, x.dtype), code


@intrinsic
def total(context: Any, x: Any) -> Any:
    """The sum of all lanes."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        name = f"llvm.vector.reduce.fadd.v{x.lanes}f{x.dtype.bitwidth}"
        of_kind = ir.FunctionType(x.element, [x.element, x.llvm])
        function = cgutils.get_or_insert_function(builder.module, of_kind, name)
        return builder.call(function, [ir.Constant(x.element, -0.0), *arguments], fastmath=("reassoc", *FLAGS))

    return x.dtype(x), code


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """A pointer to the numbers of an array, or the pointer that is given instead of one."""
    if isinstance(kind, types.CPointer):
        return array
    if kind.layout != "C":
        raise NumbaTypeError(f"the numbers of an array have to follow each other, got {kind}")
    return context.make_array(kind)(context, builder, array).data


@intrinsic
def pointer(context: Any, array: Any, index: Any) -> Any:
    """To the numbers of an array, or of another pointer, from an index on."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _at(builder, _data(context, builder, array, arguments[0]), arguments[1])

    return types.CPointer(array.dtype)(array, types.intp), code


def _vectors(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """A pointer to the vectors of an array."""
    return builder.bitcast(_data(context, builder, kind, array), Vector(kind.dtype).llvm.as_pointer())


def _at(builder: Any, pointer: Any, index: Any, j: int = 0) -> Any:
    return builder.gep(pointer, [builder.add(index, INDEX(j))], inbounds=True)


def _load(builder: Any, kind: Any, pointer: Any, index: Any, j: int = 0) -> Any:
    value = builder.load(_at(builder, pointer, index, j))
    value.align = kind.dtype.bitwidth // 8  # no slower where all are aligned to more, and no error where they are not
    return value


@intrinsic
def load(context: Any, array: Any, index: Any) -> Any:
    """The vector at this index of an array, counted in vectors."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _load(builder, array, _vectors(context, builder, array, arguments[0]), arguments[1])

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def store(context: Any, array: Any, index: Any, value: Any) -> Any:
    """Put a vector there."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = _at(builder, _vectors(context, builder, array, arguments[0]), arguments[1])
        builder.store(arguments[2], pointer).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype)), code


def _numbers_at(context: Any, builder: Any, kind: Any, array: Any, starts: Any, n: Any) -> Any:
    """Pointers to the n-th numbers from where an array's rows start."""
    data = _data(context, builder, kind, array)
    return [_at(builder, data, builder.add(start, n)) for start in cgutils.unpack_tuple(builder, starts)]


@intrinsic
def starts_of(context: Any, x: Any, first: Any, batch: Any, at: Any, count: Any) -> Any:
    """Where rows of x (seeds, rows, numbers) start, one per lane: ``first`` + batch[at + i], or batch[at]."""
    kind = types.UniTuple(types.intp, Vector(x.dtype).lanes)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        data = _data(context, builder, batch, arguments[2])
        size = cgutils.unpack_tuple(builder, context.make_array(x)(context, builder, arguments[0]).shape)[-1]
        items = []
        for i in range(kind.count):
            there = builder.icmp_signed("<", INDEX(i), arguments[4])
            row = builder.load(_at(builder, data, builder.add(arguments[3], builder.select(there, INDEX(i), INDEX(0)))))
            items.append(builder.mul(builder.add(arguments[1], row), size))
        return context.make_tuple(builder, kind, items)

    return kind(x, types.intp, batch, types.intp, types.intp), code


@intrinsic
def load_lanes(context: Any, array: Any, starts: Any, n: Any) -> Any:
    """The vector of the n-th numbers of rows that start there, one per lane."""
    kind = Vector(array.dtype)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        x = ir.Constant(kind.llvm, ir.Undefined)
        for i, pointer in enumerate(_numbers_at(context, builder, array, *arguments)):
            x = builder.insert_element(x, builder.load(pointer), ir.IntType(32)(i))
        return x

    return kind(array, starts, types.intp), code


@intrinsic
def store_lanes(context: Any, array: Any, starts: Any, n: Any, x: Any) -> Any:
    """Put a vector there, its last lane first: where rows are the same, what comes before remains."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointers = _numbers_at(context, builder, array, *arguments[:3])
        for i in reversed(range(x.lanes)):
            builder.store(builder.extract_element(arguments[3], ir.IntType(32)(i)), pointers[i])
        return context.get_dummy_value()

    return types.void(array, starts, types.intp, x), code


def _transposed(builder: Any, square: list[Any]) -> list[Any]:
    """As many vectors as each has lanes, with rows and columns exchanged, in squares of 2, 4, 8, ..."""
    count = len(square)
    for h in (2**i for i in range(count.bit_length() - 1)):
        for i in (i for i in range(count) if not i & h):
            x, y = square[i], square[i | h]
            for to, low, high in ((i, 0, count - h), (i | h, h, count)):
                places = [ir.IntType(32)(lane + high if lane & h else lane + low) for lane in range(count)]
                square[to] = builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), count), places))
    return square


@intrinsic
def load_square(context: Any, array: Any, starts: Any, n: Any) -> Any:
    """The vectors of the n-th numbers and those after them, as many as a vector has lanes: see ``load_lanes``."""
    kind = types.UniTuple(Vector(array.dtype), starts.count)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows = [
            _load(builder, array, builder.bitcast(row, kind.dtype.llvm.as_pointer()), INDEX(0))
            for row in _numbers_at(context, builder, array, *arguments)
        ]
        return context.make_tuple(builder, kind, _transposed(builder, rows))

    return kind(array, starts, types.intp), code


@intrinsic
def store_square(context: Any, array: Any, starts: Any, n: Any, square: Any) -> Any:
    """Put vectors there: see ``store_lanes``."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointers = _numbers_at(context, builder, array, *arguments[:3])
        rows = _transposed(builder, cgutils.unpack_tuple(builder, arguments[3]))
        for row, pointer in reversed([*zip(rows, pointers, strict=True)]):
            builder.store(row, builder.bitcast(pointer, row.type.as_pointer())).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, starts, types.intp, square), code


@intrinsic
def first_lanes(context: Any, x: Any, count: Any) -> Any:
    """The vector with zeros in all lanes but so many."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        integers = ir.VectorType(INDEX, x.lanes)
        mask = builder.icmp_signed(
            "<", ir.Constant(integers, list(range(x.lanes))), _splat(builder, integers, arguments[1])
        )
        return builder.select(mask, arguments[0], ir.Constant(x.llvm, None))

    return x(x, types.intp), code


@intrinsic
def number(context: Any, array: Any, index: Any, otherwise: Any) -> Any:
    """array[index] in all lanes, or another number if the index is -1."""
    kind = Vector(array.dtype)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value = cgutils.alloca_once_value(builder, context.cast(builder, arguments[2], otherwise, kind.dtype))
        with builder.if_then(builder.icmp_signed(">=", arguments[1], INDEX(0))):
            builder.store(builder.load(_at(builder, _data(context, builder, array, arguments[0]), arguments[1])), value)
        return _splat(builder, kind.llvm, builder.load(value))

    return kind(array, types.intp, otherwise), code


@njit(**INLINE)
def add(array, index, value):  # type: ignore[no-untyped-def]
    """Add a vector to what is there."""
    store(array, index, load(array, index) + value)


@intrinsic
def plain(context: Any, index: Any) -> Any:
    """An index whose value is no part of its type: for each such value there would be compiled code of its own."""
    return types.intp(types.intp), lambda context, builder, sig, arguments: arguments[0]


# Tuples of vectors. Their lengths are part of their types, so `like` and `taps`, tuples of anything, say how many.


@intrinsic(prefer_literal=True)
def repeated(context: Any, x: Any, count: Any) -> Any:
    """A tuple of so many times the same vector."""
    kind = types.UniTuple(x, count.literal_value)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return context.make_tuple(builder, kind, [arguments[0]] * kind.count)

    return kind(x, count), code


@intrinsic
def alike(context: Any, like: Any, x: Any) -> Any:
    """A tuple as long as another one, with the same vector everywhere."""
    kind = types.UniTuple(x, like.count)
    code = lambda context, builder, sig, arguments: context.make_tuple(builder, kind, [arguments[1]] * kind.count)  # noqa: E731
    return kind(like, x), code


@intrinsic
def load_all(context: Any, like: Any, array: Any, first: Any) -> Any:
    """The vectors of an array from an index on."""
    kind = types.UniTuple(Vector(array.dtype), like.count)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = _vectors(context, builder, array, arguments[1])
        items = [_load(builder, array, start, arguments[2], j) for j in range(kind.count)]
        return context.make_tuple(builder, kind, items)

    return kind(like, array, types.intp), code


@intrinsic
def store_all(context: Any, array: Any, first: Any, values: Any) -> Any:
    """Put a tuple there."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = _vectors(context, builder, array, arguments[0])
        for j, value in enumerate(cgutils.unpack_tuple(builder, arguments[2])):
            builder.store(value, _at(builder, start, arguments[1], j)).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, values), code


@njit(**INLINE)
def add_all(array, first, values):  # type: ignore[no-untyped-def]
    """Add a tuple to what is there."""
    for j in range(len(values)):
        add(array, first + j, values[j])


def _number(context: Any, builder: Any, kind: Any, place: Any, j: int = 0) -> Any:
    """A number at a place, an array and an index, in all lanes: read where it is used, which costs no register."""
    pointer = _at(builder, _data(context, builder, kind, place[0]), place[1], j)
    return _splat(builder, Vector(kind.dtype).llvm, builder.load(pointer))


@intrinsic
def numbers(context: Any, like: Any, array: Any, first: Any) -> Any:
    """Numbers of an array from an index on, each in all lanes of a vector."""
    kind = types.UniTuple(Vector(array.dtype), like.count)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        items = [_number(context, builder, array, arguments[1:], j) for j in range(kind.count)]
        return context.make_tuple(builder, kind, items)

    return kind(like, array, types.intp), code


@intrinsic
def dot(context: Any, start: Any, array: Any, first: Any, window: Any) -> Any:
    """start + Σ_j array[first + j] window[j]: a filter at one place."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        s = arguments[0]
        for j, u in enumerate(cgutils.unpack_tuple(builder, arguments[3])):
            s = _call(builder, "fma", _number(context, builder, array, arguments[1:3], j), u, s)
        return s

    return start(start, array, types.intp, window), code


@intrinsic
def add_dots(context: Any, sums: Any, array: Any, first: Any, step: Any, source: Any, at: Any, taps: Any) -> Any:
    """sums[i] + Σ_j array[first + j step] source[at + i + j]: a filter at places that follow each other."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        items, numbers, first, step, data, at = arguments[:6]
        items, data = cgutils.unpack_tuple(builder, items), _vectors(context, builder, source, data)
        for j in range(taps.count):
            w = _number(context, builder, array, (numbers, builder.add(first, builder.mul(step, INDEX(j)))))
            for i in range(sums.count):
                items[i] = _call(builder, "fma", w, _load(builder, source, data, at, i + j), items[i])
        return context.make_tuple(builder, sums, items)

    return sums(sums, array, types.intp, types.intp, source, types.intp, taps), code


@intrinsic
def add_multiple(context: Any, x: Any, a: Any, y: Any) -> Any:
    """x[j] + a y[j] for all j."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pairs = zip(*(cgutils.unpack_tuple(builder, arguments[i]) for i in (0, 2)), strict=True)
        items = [_call(builder, "fma", arguments[1], value, start) for start, value in pairs]
        return context.make_tuple(builder, x, items)

    return x(x, a, y), code


@overload(where)
def _(condition, x, y):  # type: ignore[no-untyped-def]
    if isinstance(condition, Mask):
        return lambda condition, x, y: _select(condition, x, y)
    return lambda condition, x, y: x if condition else y


@overload(math.sqrt)
def _(x):  # type: ignore[no-untyped-def]
    return (lambda x: sqrt(x)) if isinstance(x, Vector) else None


@overload(abs)
@overload(math.fabs)
def _(x):  # type: ignore[no-untyped-def]
    return (lambda x: absolute(x)) if isinstance(x, Vector) else None


@overload(max)
def _(x, y):  # type: ignore[no-untyped-def]
    return (lambda x, y: _select(x < y, y, x)) if _vector_of((x, y)) else None  # a first argument NaN stays


@overload(min)
def _(x, y):  # type: ignore[no-untyped-def]
    return (lambda x, y: _select(x > y, y, x)) if _vector_of((x, y)) else None
