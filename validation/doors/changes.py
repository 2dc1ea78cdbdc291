"""Changes of arguments: other forms of the same value, and what is no value at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

SAME, EITHER, OPEN, BAD = "same", "either", "open", "bad"


@dataclass(frozen=True)
class Change:
    """A change of an argument: a template of Python in which ``{}`` is the argument, and what it makes of the call.

    ``words`` must be part of the refusal; ``rtol`` is the precision up to which values are equal.
    """

    verdict: str
    template: str
    words: str = ""
    rtol: float = 0.0

    def __call__(self, source: str) -> str:
        return self.template.replace("{}", source)


@dataclass(frozen=True)
class Generated:
    """One generated call.

    ``reference`` is the code of the call without changes, whose value counts; ``kind`` is for the table, ``title``
    names the call and its changes; ``words`` must be part of a refusal.
    """

    kind: str
    title: str
    verdict: str
    code: str
    reference: str
    words: str
    rtol: float
    may_raise_type_error: bool = False


@dataclass(frozen=True)
class Argument:
    """An argument of a valid call: its code, its group (arguments of two groups cannot be swapped), its changes."""

    source: str
    group: str
    changes: tuple[Change, ...]

    def plus(self, *changes: Change) -> Argument:
        """The argument with further changes."""
        return replace(self, changes=self.changes + changes)

    def without(self, *templates: str) -> Argument:
        """The argument without some changes."""
        return replace(self, changes=tuple(change for change in self.changes if change.template not in templates))


def listed(texts: tuple[str, ...]) -> list[str]:
    """The templates of texts in which semicolons stand between them."""
    return [template.strip() for text in texts for template in text.split(";")]


def same(*texts: str, rtol: float = 0.0) -> tuple[Change, ...]:
    """Changes that leave the value equal; templates are separated by semicolons."""
    return tuple(Change(SAME, template, rtol=rtol) for template in listed(texts))


def either(*texts: str) -> tuple[Change, ...]:
    """Changes that leave the value equal, but may be refused."""
    return tuple(Change(EITHER, template) for template in listed(texts))


def open_(*texts: str) -> tuple[Change, ...]:
    """Changes that may be refused, or have a value of their own."""
    return tuple(Change(OPEN, template) for template in listed(texts))


def bad(*texts: str, words: str = "") -> tuple[Change, ...]:
    """Changes that make a call wrong."""
    return tuple(Change(BAD, template, words) for template in listed(texts))


NO_NUMBER = bad(
    """
        'three'; str({}); b'3'; float('nan'); np.nan; float('inf'); -np.inf; complex({}, 0); complex({}, 1);
        np.complex128({}); [{}, {}]; np.array([{}, {}]); {'value': {}}; np.ma.masked;
        np.datetime64('2020-01-01'); np.timedelta64(3); np.timedelta64(3, 's'); np.str_({}); np.array('3');
        np.array(None); object(); len; ...; slice({}); ()
    """,
)


def count(source: int, *, least: int = 1, optional: bool = False, sized: bool = True) -> Argument:
    """An integer from ``least``; sized, memory grows with it."""
    changes = same("np.int64({}); np.int32({}); np.uint8({}); np.array({}); np.asarray({}, 'i2')[()]")
    changes += either("float({}); np.float64({}); np.array([{}]); [{}]; np.array({}, object)")
    changes += NO_NUMBER + bad("True; False; np.True_; {} + 0.5; -{}; -1; np.int64(-3); -(10**30)")
    changes += bad("0; np.int64(0)") if least > 0 else ()
    changes += () if optional else bad("None")
    huge = (
        "10**7",
        "10**400",
        "10**9",
        "10**12",
        "2**63 - 1",
        "2**63",
        "10**30",
        "np.int64(2**62)",
        "np.uint64(2**64 - 1)",
    )
    changes += bad(*huge[1:]) if sized else open_(*huge)
    return Argument(str(source), "count", changes)


def number(source: float, *, zero: bool = False, sign: bool = False, optional: bool = False) -> Argument:
    """A finite number: positive, or not negative (``zero``), or any (``sign``)."""
    changes = same("np.float64({}); np.float32({}); np.float16({}); np.array({}); np.array({}, 'f4')")
    changes += either("""
        np.longdouble({}); np.array([{}]); [{}]; np.array({}, object); __import__('fractions').Fraction({})
    """)
    changes += either("__import__('decimal').Decimal({})")
    if float(source).is_integer():
        changes += same("int({}); np.int64({}); np.uint8({})") if source >= 0 else same("int({})")
    changes += NO_NUMBER + bad("True; np.False_; 10**400; 1e400")
    if not sign:
        changes += bad("-{}; -1e-300; np.float32(-1); np.int64(-1)")
        changes += bad("0; 0.0; -0.0; np.float64(0)") if not zero else ()
    changes += () if optional else bad("None")
    return Argument(repr(source), "number", changes)


def boolean(source: bool) -> Argument:
    """True or False."""
    changes = same("np.bool_({})") + either("np.array({}); int({}); float({})")
    changes += bad("""
        'yes'; 'True'; 'false'; 2; -1; np.nan; []; [{}]; np.array([{}, {}]); object(); len; None; ''; 0.5; '0';
        b''
    """)
    return Argument(str(source), "boolean", changes)


def choice(source: str, *, optional: bool = False, suggests: bool = True) -> Argument:
    """One of some words."""
    middle = len(source) // 2
    close = {source[:middle] + source[middle + 1 :], source[:middle] + source[middle] + source[middle:], source + "s"}
    changes = same("np.str_({})") + either("{}.upper(); ' ' + {}; {} + '\\n'")
    changes += bad(*map(repr, sorted(close)), words="did you mean" if suggests else "")
    changes += bad("'xyzzy'; ''; 3; True; 1.5; np.nan; b'abc'; [{}]; ({},); {{}: 1}; object(); len; ...")
    changes += () if optional else bad("None")
    return Argument(repr(source), "choice", changes)


def seed(source: int, *, draws: bool = True, optional: bool = False) -> Argument:
    """A seed or a generator; ``draws`` where the generator of a seed gives the same numbers."""
    changes = same("np.int64({}); np.uint32({}); np.int8({}); np.array({})")
    generator = "np.random.default_rng({})"
    changes += same(generator) if draws else open_(generator)
    changes += open_("""
        np.random.SeedSequence({}); np.random.RandomState({}); [{}, 1]; np.random.PCG64({}); 10**30; 2**63;
        2**64 - 1; 2**64
    """)
    changes += bad("""
        'seed'; str({}); -1; np.int64(-1); 0.5; np.nan; True; np.random; len; 1j; object(); np.timedelta64(3);
        np.ma.masked; np.random.default_rng
    """)
    changes += () if optional else bad("None")
    return Argument(str(source), "seed", changes)


NO_ARRAY = bad(
    """
        'abc'; b'abc'; True; object(); len; {'a': 1.0}; {1.0, 2.0}; iter({}); [None]; [[1.0], [2.0, 3.0]];
        [[[1.0, 2.0], [3.0]]]; ...; slice(3); np.array({}).astype(str); np.array({}).astype('S');
        np.array({}).astype(str).tolist(); np.array({}).astype(str).astype(object); np.array({}) + 1j;
        np.array({}) + 0j; (np.array({}) + 1j).astype(object); np.array({}).astype('m8[s]');
        np.array({}).astype('i8').astype('M8[D]'); spoilt({}, np.nan); spoilt({}, np.inf); spoilt({}, -np.inf);
        spoilt({}, np.nan, 'f4'); spoilt({}, None, object); spoilt({}, 'x', object); spoilt({}, True, object);
        spoilt({}, 1j, object); spoilt({}, 10**400, object);
        spoilt(np.array({}, object), np.datetime64('2020')); np.array({}) > -100; (np.array({}) > 0).tolist();
        masked({}); np.array({})[None]; np.array({})[:0]; np.zeros(0); []; (); np.zeros((0, 3));
        np.array({})[..., None]; np.zeros(3, dtype=[('a', float), ('b', float)]); np.array({}) * 1e308 * 100
    """,
)


NOT_FINITE = (
    "spoilt({}, np.nan)",
    "spoilt({}, np.inf)",
    "spoilt({}, -np.inf)",
    "spoilt({}, np.nan, 'f4')",
    "np.array({}) * 1e308 * 100",
)


def array(
    source: str, *, precise: bool = True, whole: bool = False, optional: bool = False, finite: bool = True
) -> Argument:
    """An array of numbers that float16 has. Precise, its own precision plays no role; ``whole`` numbers.

    Where it need not be ``finite``, what is no number goes on as what it is.
    """
    changes = same(
        """
        np.array({}).tolist(); tuples(np.array({})); list(np.array({})); np.asfortranarray({}); strided({});
        flipped({}); readonly({}); np.array({}).astype('>f8')
    """,
    )
    single = ("np.array({}, 'f4')", "np.array({}, '>f4')", "strided(np.array({}, 'f4'))")
    changes += same(*single, "np.array({}, 'f2')") if precise else same(*single, rtol=2e-5)
    changes += either("""
        np.array({}, object); np.array({}, np.longdouble); np.ma.array({}); memoryview(np.array({}, float))
    """)
    if whole:
        changes += same("""
        np.array({}).astype('i8'); np.array({}).astype('i1'); np.array({}).astype(int).tolist();
        np.array({}).astype('>i4')
    """)
    changes += NO_ARRAY + bad("3.5; np.float64(2); np.array(1.0); np.ravel({})[0]")
    if not finite:
        changes = tuple(replace(c, verdict=OPEN) if c.template in NOT_FINITE else c for c in changes)
    changes += () if optional else bad("None")
    return Argument(source, "array", changes)


def thing(source: str, group: str, *wrong: str, optional: bool = False) -> Argument:
    """An object of the package, or a function."""
    changes = bad(
        "'text'",
        "3.0",
        "True",
        "object()",
        "np.zeros(3)",
        "[]",
        "[{}]",
        "{'a': {}}",
        "type({})",
        "Ellipsis",
        "np",
        "len",
        *wrong,
    )
    changes += () if optional else bad("None")
    return Argument(source, group, changes)


def path(source: str, *, new: bool = False, optional: bool = False) -> Argument:
    """The path of a file, to be read or (new) to be made."""
    changes = same("__import__('pathlib').Path({})")
    changes += either("__import__('os').fsencode({})")
    changes += bad("""
        3; True; 1.5; object(); [{}]; ''; folder('folder'); {} + '/below'; '/nowhere/run.h5'; len; np.zeros(3);
        '\\0'; {} + '\\0'; 'a' * 300
    """)
    if not new:
        changes += bad("""
        {} + 'x'; pipe('pipe'); written('empty', b''); written('text', 'no file of this kind'); '/dev/null'
    """)
        changes += bad("written('noise', np.random.default_rng(0).bytes(4096))")
    changes += () if optional else bad("None")
    return Argument(source, "path", changes)


def fixed(source: str, *changes: Change, group: str = "fixed") -> Argument:
    """An argument with changes of its own only."""
    return Argument(source, group, changes)
