"""Valid small calls of every public function and class, argument by argument."""

from __future__ import annotations

__all__ = ["CALLS", "Call"]

from dataclasses import dataclass

from validation.doors.changes import (
    Argument,
    array,
    bad,
    boolean,
    choice,
    count,
    either,
    fixed,
    number,
    open_,
    path,
    same,
    seed,
    thing,
)


@dataclass(frozen=True)
class Call:
    """``made = target(**arguments)``, and an expression of ``made`` whose value is known from the call without changes.

    ``precision`` is that to which that value is determined.
    """

    target: str
    arguments: dict[str, Argument]
    probe: str
    precision: float = 0.0


CALLS: list[Call] = []


def call(target: str, probe: str, /, precision: float = 0.0, **arguments: Argument) -> None:
    """One more call."""
    CALLS.append(Call(target, arguments, probe, precision))


# ---- data sets

ROW_COLUMN = fixed(
    "(1, -1)",
    *same("""
        [1, -1]; np.array([1, -1]); np.array([1, -1], 'i1'); [[1, -1]]; ((1, 2),); (np.int64(1), np.int8(2))
    """),
    *same("""
        np.array([[[0., 0, 0], [0, 0, 1]]]); [[[0, 0, 0], [0, 0, 1]]];
        np.array([[[0, 0, 0], [0, 0, 1]]], 'f4')
    """),
    *either("np.array([1., -1.]); (1.0, -1.0)"),
    *bad("""
        (2, 0); (0, 3); (-3, 0); (0, -4); 1; (1,); (0, 1, 2); '1,2'; None; (0.5, 1); (True, False); ()
    """),
    *bad("""
        []; ((0, 0), (1, 1)); (np.nan, 0); (1, None); ('a', 'b'); np.zeros((1, 3, 2)); np.zeros((2, 2, 3))
    """),
    *bad("""
        np.full((1, 2, 3), np.nan); masked(np.ones((1, 2, 3))); np.ones((1, 2, 3)) * 1j; object();
        {0: 1, 1: 2}
    """),
    *bad("""
        (10**30, 0); (2**63, 0); np.zeros((0, 2, 3)); [[1, -1], [1]]; (1j, 0); np.array(['0', '1']); len
    """),
    *bad("""
        np.array([[1, -1]]) > 0; np.ma.masked; np.array([1, 2], 'm8[s]');
        spoilt(np.zeros((1, 2, 3), object), 'x')
    """),
)
LABELS = (
    array("np.array([1.0, -1.0, 1.0])", whole=True)
    .without("np.array({})[..., None]")
    .plus(
        *either("np.array([[1.0], [-1.0], [1.0]])"), *bad("np.array([[1.0, -1.0, 1.0]]); [1.0, -1.0]; np.ones((3, 2))")
    )
)
TOKENS = array("eighths(3, 2, 3)").plus(*bad("eighths(2, 2, 3); eighths(3, 6); eighths(3, 0, 3)"))
call(
    "wflow.Dataset",
    "made.tokens, made.labels.ravel(), made.readout, made.risk(made.read(made.tokens)), "
    "made.error_rate(made.read(made.tokens) + 0.5)",
    tokens=TOKENS,
    labels=LABELS,
    readout=ROW_COLUMN,
)
TWO_ENTRIES = fixed(
    "((0, -1), (1, -1))",
    *same("""
        [[0, 2], [1, 2]]; np.array([(0, -1), (1, -1)], 'i2'); [np.array([0, -1]), np.array([1, -1])]
    """),
    *bad("""
        (0, -1); ((0, -1), (1, -1), (0, 0)); ((0, -1), (2, -1)); ((0, -1), (1,)); ((0, -1), None)
    """),
)
call(
    "wflow.Dataset",
    "prompts(made), made.risk(made.read(made.tokens)), made.error_rate(made.read(made.tokens) + 0.5)",
    tokens=TOKENS,
    labels=array("np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])", whole=True).plus(
        *open_("np.array([0, 1, 0])"), *bad("np.ones((3, 3)); np.full(3, 0.5)")
    ),
    readout=TWO_ENTRIES,
    name=fixed("'mine'", *same("np.str_('mine')"), *bad("3; None; b'mine'; ['mine']; object()")),
)
call(
    "wflow.Dataset",
    "prompts(made), made.targets, made.risk(made.read(made.tokens)), made.error_rate(made.read(made.tokens))",
    tokens=TOKENS,
    labels=array("np.array([1.0, 0.0, 1.0])", whole=True)
    .without("np.array({})[..., None]")
    .plus(*bad("[1, 0]; [1, 2, 0]; [1, -1, 0]; [0.5, 0, 1]; np.ones((3, 3)); np.ones((3, 1))")),
    readout=TWO_ENTRIES.without("((0, -1), (1, -1), (0, 0))"),
)
PREDICTIONS = (
    array("np.array([0.5, 0.25, -1.0])", finite=False)
    .without("np.array({})[..., None]")
    .plus(
        *either("np.array([[0.5], [0.25], [-1.0]])"), *bad("np.ones(2); np.ones(1); np.ones((3, 3)); np.ones((1, 3))")
    )
)
for method in ("risk", "error_rate"):
    call(f"DATA.{method}", "made", predictions=PREDICTIONS)
call(
    "DATA.read",
    "made",
    tokens=array("eighths(3, 2, 3)", finite=False)
    .without("np.array({})[:0]")
    .plus(*bad("eighths(3, 3, 2); eighths(2, 3); eighths(3, 1, 6)")),
)
call(
    "DATA.subset",
    "prompts(made)",
    index=fixed(
        "[0, 2]",
        *same("""
        (0, 2); np.array([0, 2]); np.array([0, 2], 'u1'); np.array([True, False, True]); [True, False, True]
    """),
        *either("[0, -1]; range(0, 3, 2); slice(0, 3, 2); np.array([0., 2.])"),
        *bad("[0, 3]; [-4]; []; np.zeros(0, int); '0'; None; [0.5]; [np.nan]; [[0, 2]]; [True, False]"),
        *bad("""
        np.array([False, False, False]); 1; object(); ['0']; [None]; {0, 2}; [10**30]; masked([0, 2])
    """),
    ),
)
FRACTION = number(0.25).plus(*bad("1.0; 1; 1.5; 0.001; 0.999"))
call("DATA.split", "prompts(made)", fraction=number(0.5).plus(*bad("1.0; 1; 1.5; 0.001; 0.999")), rng=seed(3))
call(
    "wflow.datasets.in_context_regression",
    "prompts(made)",
    n_prompts=count(3),
    dimension=count(2),
    context=count(4),
    rng=seed(5),
    teacher=choice("relu"),
    width=count(4),
    positions=boolean(True),
    noise=number(0.5, zero=True),
)
call(
    "wflow.datasets.digits",
    "tuple((d.tokens[:5], d.labels[:5], len(d.labels)) for d in made)",
    classes=fixed(
        "(4, 9)",
        *same("[4, 9]; np.array([4, 9]); np.array([4, 9], 'u1'); (np.int64(4), 9)"),
        *either("range(4, 10, 5); np.array([4., 9.])"),
        *bad("""
        (4,); 4; '49'; None; (4, 4); (4, 10); (-1, 4); (4.5, 9); (True, False); ('4', '9'); 'al'; {4, 9}
    """),
        *bad("""
        []; [[4, 9]]; (4, None); (np.nan, 4); object(); (4, 9j); (4, 10**30); np.array([4, 9]) > 0; len
    """),
    ),
    patch=fixed(
        "(4, 8)",
        *same("[4, 8]; np.array([4, 8]); (np.int64(4), np.uint8(8))"),
        *bad("""
        4; (3, 4); (0, 4); (-2, 2); (2, 2, 2); None; '48'; (4.0, 8); (True, 8); (16, 8); (np.nan, 2)
    """),
        *bad("(); ('4', '8'); object(); (4, None); {4: 8, 8: 4, 3: 1}; (4, 10**30); len"),
    ),
    positions=choice("onehot"),
    heldout=number(0.25, optional=True).plus(*bad("1.0; 1; 1.5; 1e-6")).without("int({})"),
    rng=seed(2),
)
call(
    "wflow.datasets.diabetes",
    "prompts(made)",
    n_prompts=count(3),
    context=count(4).plus(*bad("442; 500")),
    rng=seed(5),
    features=fixed(
        "['bmi', 'bp']",
        *same("('bmi', 'bp'); [np.str_('bmi'), 'bp']"),
        *either("np.array(['bmi', 'bp'])"),
        *bad("""
        'bmi'; ['bmii', 'bp']; ['bmi', 'bmi']; []; 3; ['bmi', 3]; [None]; {'bmi': 1}; object(); [['bmi']]
    """),
        *bad("[b'bmi']; True; np.nan; len"),
    ),
    rows=choice("heldout"),
)
call(
    "wflow.datasets.from_npz",
    "prompts(made)",
    path=path("file('data.npz')").plus(
        *bad("""
        cut('data.npz', 0.5); npz('a.npz', tokens=eighths(3, 2, 3)); npz('a.npz', labels=np.ones(3))
    """),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3), labels=np.ones(3), readot=(0, 0)); file('run.h5')"),
        *bad("npz('a.npz', tokens=spoilt(eighths(3, 2, 3), None, object), labels=np.ones(3))"),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3).astype(str), labels=np.ones(3))"),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3) * 1j, labels=np.ones(3))"),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3), labels=np.ones(2))"),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3), labels=spoilt(np.ones(3), np.nan))"),
        *bad("npz('a.npz', tokens=eighths(3, 2, 3), labels=np.ones(3), readout=(9, 9))"),
        *open_("""
        damaged('data.npz', 1); damaged('data.npz', 2); damaged('data.npz', 3); damaged('data.npz', 4)
    """),
        *same("written('data.npz', __import__('pathlib').Path(file('data.npz')).read_bytes())"),
    ),
)

# ---- encoders

HEAD_PROBE = "made.n_parameters(2), answers(*alone(made))"
MASK = fixed(
    "('local', 1)",
    *same("['local', 1]; ('local', np.int64(1)); np.eye(3, k=1) + np.eye(3) + np.eye(3, k=-1)"),
    *same("[[1, 1, 0], [1, 1, 1], [0, 1, 1]]; np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], 'i1')"),
    *same("np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]]) > 0; readonly([[1, 1, 0], [1, 1, 1], [0, 1, 1]])"),
    *same("strided(np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]]))"),
    *open_("None; 'causal'; ('local', 0); ('local', 10**30); np.ones((3, 3)); np.eye(3); np.tri(3)"),
    *bad("""
        'local'; 'casual'; ('local',); ('local', -1); ('local', 0.5); ('local', None); ('local', '1'); ('locl', 1); 1;
        True; np.nan; (); []; ('local', 1, 1); {'local': 1}; object(); len; b'causal'; {'causal'}; ('causal',)
    """),
    *bad(
        "np.ones((3, 2)); np.ones(9); np.ones((2, 2)); np.zeros((3, 3)); np.eye(3) / 2; np.ones((1, 3, 3)); -np.eye(3)"
    ),
    *bad("np.full((3, 3), np.nan); np.ones((3, 3)) * 1j; masked(np.ones((3, 3))); np.ones((3, 3)).astype(str)"),
)
ATTENTION_PROBE = "made.n_parameters(2), answers(*alone(made)), made.reads(np.array([0]), 3)"
call(
    "wflow.Attention",
    ATTENTION_PROBE,
    kernel=choice("sigmoid"),
    mask=MASK,
    factored=boolean(True),
    rank=count(2, optional=True),
    scale=number(0.5),
)
call("wflow.Attention", ATTENTION_PROBE, kernel=choice("gaussian"), factored=boolean(True).plus(*bad("False")))
call("wflow.SoftmaxAttention", HEAD_PROBE, factored=boolean(True), rank=count(2, optional=True))
call("wflow.SoftmaxAttention", HEAD_PROBE, factored=boolean(False).plus(*bad("'no'")))
call("wflow.SoftmaxAttention", HEAD_PROBE, factored=boolean(True).plus(*bad("False")), rank=count(1))
call(
    "wflow.FeedForward",
    HEAD_PROBE,
    activation=choice("softplus"),
    hidden=count(2),
    bias=boolean(True),
)
TOKENS_OF_HEADS = array("eighths(2, 2, 3)", finite=False).plus(*bad("eighths(2, 6); eighths(2, 3, 3)"))
PARAMETERS = (
    array("eighths(3, 8)", precise=False, finite=False)
    .without("np.array({})[:0]")
    .plus(*bad("eighths(3, 7); eighths(24); eighths(1, 3, 8)"))
)
WEIGHTS = array("np.array([0.5, 0.25, 0.25])", finite=False).plus(*bad("np.ones(2); np.ones(1); np.ones((3, 1)); 0.5"))
COTANGENT = array("eighths(2, 2, 3) + 1", finite=False).plus(*bad("eighths(2, 3, 2); eighths(1, 2, 3)"))
HEADS = "wflow.SoftmaxAttention()", "wflow.SoftmaxAttention(True, 1)", "wflow.Attention('gaussian', 'causal', True, 1)"
for encoder in (*HEADS, "wflow.FeedForward('tanh', 2)"):
    call(f"{encoder}.mean", "made", tokens=TOKENS_OF_HEADS, parameters=PARAMETERS, weights=WEIGHTS, precision=2e-5)
    call(
        f"{encoder}.vjp",
        "made",
        tokens=TOKENS_OF_HEADS,
        parameters=PARAMETERS,
        weights=WEIGHTS,
        cotangent=COTANGENT,
        precision=2e-5,
    )
    call(
        f"{encoder}.pairing", "made", tokens=TOKENS_OF_HEADS, parameters=PARAMETERS, cotangent=COTANGENT, precision=2e-5
    )
    call(f"{encoder}.n_parameters", "made", dimension=count(2, sized=False).without("2**63 - 1"))
call(
    "encoders.pairing",
    "made",
    encoder=thing("wflow.SoftmaxAttention()", "encoder", "DATA; wflow.SoftmaxAttention"),
    tokens=TOKENS_OF_HEADS,
    parameters=PARAMETERS,
    cotangent=COTANGENT,
    precision=2e-5,
)

# ---- measures

NODES = array("np.array([0.25, 0.75])", optional=True).plus(*bad("np.array([0.25]); np.zeros(3)"))
SHARES = array("np.array([0.25, 0.75])", optional=True).plus(
    *bad("[0.5]; [0.5, 0.6]; [1.5, -0.5]; [1.0, 0.0]; np.ones(2); np.zeros(2)")
)
BY_BLOCK = (
    "3",
    "'x'",
    "[0.5, 0.5]",
    "np.ones((2, 2))",
    "{'y': [[0.5, 0.5], [0.5, 0.5]]}",
    "True",
    "{'x': None}",
    "{1: 2}",
    "object()",
)
call(
    "wflow.Particles",
    "masses(made), made.radius, dict(made.moment(2))",
    x=array("eighths(2, 2, 3)", precise=False).plus(
        *bad("eighths(2, 12); eighths(3, 2, 3); eighths(2, 0, 3); eighths(2, 2, 0)")
    ),
    weights=fixed(
        "{'x': [[0.25, 0.75], [0.5, 0.5]]}",
        *same("{'x': ((0.25, 0.75), (0.5, 0.5))}; {'x': np.array([[0.25, 0.75], [0.5, 0.5]], 'f4')}"),
        *same("""
        {'x': readonly([[0.25, 0.75], [0.5, 0.5]])}; {'x': np.array([[0.25, 0.75], [0.5, 0.5]], order='F')}
    """),
        *same("{'x': strided(np.array([[0.25, 0.75], [0.5, 0.5]]))}"),
        *either("{'x': np.array([[0.25, 0.75], [0.5, 0.5]], object)}; [('x', [[0.25, 0.75], [0.5, 0.5]])]"),
        *bad("""
        {'x': [[0.25, 0.76], [0.5, 0.5]]}; {'x': [[1.25, -0.25], [0.5, 0.5]]}; {'x': [0.5, 0.5]};
        {'x': [[0.5, 0.5]]}
    """),
        *bad("""
        {'x': [[1.0], [1.0]]}; {'x': [[np.nan, 1.0], [0.5, 0.5]]}; {'x': [['0.25', '0.75'], ['0.5', '0.5']]}
    """),
        *bad("""
        {'x': masked([[0.25, 0.75], [0.5, 0.5]])}; {'x': np.array([[0.25, 0.75], [0.5, 0.5]]) + 0j};
        {'x': 1.0}; {'x': 'ab'}
    """),
        *bad("{'x': [[True, False], [True, False]]}", *BY_BLOCK),
    ),
    t=NODES,
    depth_weights=SHARES,
)
call(
    "wflow.Particles",
    "masses(made)",
    theta=array("eighths(2, 2, 3)", precise=False)
    .without("np.array({}, 'f4')", "np.array({}, '>f4')", "strided(np.array({}, 'f4'))")
    .plus(*bad("np.array({}, 'f4'); eighths(3, 2, 3)")),
    w=array("eighths(2, 4, 1)", precise=False)
    .without("np.array({}, 'f4')", "np.array({}, '>f4')", "strided(np.array({}, 'f4'))", "np.array({})[..., None]")
    .plus(*bad("eighths(4, 2, 1)")),
)
call(
    "wflow.Particles",
    "masses(made)",
    x=array("eighths(3, 2)", precise=False)
    .without("np.array({})[None]")
    .plus(*same("np.array({})[None]"))
    .without("np.array({})[..., None]"),
)
INTERVALS = fixed(
    "{'x': ((-2, 2),)}",
    *same("""
        {'x': [[-2, 2]]}; {'x': np.array([[-2.0, 2.0]])}; {'x': ((-2.0, np.float32(2)),)};
        {'x': [np.array([-2, 2])]}
    """),
    *either("[('x', [[-2, 2]])]"),
    *bad("""
        {'x': (-2, 2)}; {'x': ((2, -2),)}; {'x': ((-2, -2),)}; {'x': ((-2, np.inf),)}; {'x': ((np.nan, 2),)};
        {'x': ((-2,),)}
    """),
    *bad("""
        {'x': ((-2, 0, 2),)}; {'x': (('-2', '2'),)}; {'x': ('ab',)}; {'x': ('12',)}; {'x': None};
        {'x': ((False, True),)}; {'y': ((-2, 2),)}
    """),
    *bad("""
        dict(); None; 3; ((-2, 2),); 'x'; {'x': ((-2, 2), (-2, 2))}; {'x': ((-2j, 2),)}; {'x': ()};
        {'x': ((10**400, 10**401),)}
    """),
    *bad("""
        {'x': ((-1e308, 1e308),)}; object(); {'x': [{-2, 2, 3}]}; {'x': np.ma.masked}; {'x': ((-2, None),)};
        {'x': {-2: 2}}
    """),
    *bad("""
        {'x': np.array([[-2, 2]], 'm8[s]')}; {'x': masked([[-2.0, 2.0]])}; {'x': np.array([['-2', '2']])};
        {'x': ((0, 5e-324),)}
    """),
)
call(
    "wflow.Grid",
    "masses(made), made.radius, made.outer_mass('x'), made.marginal('x', 0), made.axes('x')",
    x=array("abs(eighths(2, 4)) + 1").plus(
        *bad("""
        -eighths(2, 4) - 9; np.zeros((2, 4)); eighths(2, 4); np.ones((2, 2)); np.ones((2, 1));
        np.full((2, 4), 1e308)
    """)
    ),
    box=INTERVALS.without(),
    t=NODES,
    depth_weights=SHARES,
)
call(
    "wflow.Grid.from_particles",
    "masses(made)",
    rho=thing("CLOUD", "measure", "HILL; V; wflow.Particles; RHO"),
    box=fixed(
        "{'x': ((-6, 6),)}",
        *same("{'x': [[-6, 6.0]]}"),
        *bad("""
        {'x': ((-1, 1),)}; {'x': (-6, 6)}; dict(); None; 3; 'x'; {'y': ((-6, 6),)}; {'x': None}; [1]
    """),
    ),
    cells=fixed(
        "{'x': 24}",
        *same("{'x': (24,)}; {'x': [24]}; {'x': np.int64(24)}; {'x': np.array([24])}"),
        *either("{'x': np.array(24)}; 24"),
        *bad("""
        {'x': 2}; {'x': 0}; {'x': -5}; {'x': 24.5}; {'x': '24'}; {'x': None}; {'x': (24, 24)}; {'x': True};
        {'x': np.nan}
    """),
        *bad("""
        dict(); None; {'y': 24}; 'x'; {'x': 10**12}; {'x': 2**63}; {'x': (2**40,)}; {'x': [None]};
        {'x': object()}; {'x': {24: 1}}; True
    """),
    ),
)
for rho in ("RHO", "HILL"):
    block = "w" if rho == "RHO" else "x"
    call(
        f"{rho}.moment",
        "dict(made)",
        order=count(2, least=0, sized=False).plus(*open_("30; -1")).without("-{}", "-1", "np.int64(-3)"),
    )
    for method in ("points", "weights", "mass", "has_equal_weights"):
        call(f"{rho}.{method}", "made", block=choice(block, suggests=False))
call(
    "HILL.marginal",
    "made",
    block=choice("x", suggests=False),
    axis=count(0, least=0).plus(*bad("1; -2; 3")).without("-{}", "-1"),
)
call("HILL.outer_mass", "made", block=choice("x", suggests=False))
call(
    "RHO.at",
    "masses(made)",
    t=array("np.array([0.25, 0.75])").plus(*bad("np.array([0.25]); np.zeros(3)")),
    depth_weights=array("np.array([0.25, 0.75])").plus(*bad("[0.5]; [0.5, 0.6]; [1.5, -0.5]; [1.0, 0.0]; np.ones(2)")),
)

# ---- energies

ENCODERS = ("DATA", "Wrong", "wflow.SoftmaxAttention", "RHO", "Q")
WRONG_ENCODERS = (
    "Wrong(mean=lambda T, x, a: T[:, :1])",
    "Wrong(mean=lambda T, x, a: None)",
    "Wrong(mean=lambda T, x, a: 'text')",
    "Wrong(mean=lambda T, x, a: T * 1j)",
    "Wrong(mean=lambda T, x, a: 0.0)",
    "Wrong(mean=None)",
    "Wrong(vjp=lambda T, x, a, p: T)",
    "Wrong(vjp=lambda T, x, a, p: (T, x[0]))",
    "Wrong(vjp=lambda T, x, a, p: (T[0], x))",
    "Wrong(vjp=lambda T, x, a, p: None)",
    "Wrong(vjp=lambda T, x, a, p: (T, None))",
    "Wrong(vjp=lambda T, x, a, p: (T, x * 1j))",
    "Wrong(vjp=lambda T, x, a, p: (T, np.full(x.shape, 'a')))",
    "Wrong(n_parameters=lambda D: 0)",
    "Wrong(n_parameters=lambda D: 1.5)",
    "Wrong(n_parameters=lambda D: 'one')",
    "Wrong(n_parameters=lambda D: None)",
    "Wrong(n_parameters=lambda D: True)",
    "Wrong(n_parameters=lambda D: -1)",
    "Wrong(n_parameters=1)",
)
MOBILITY = fixed(
    "{'V': 0.0, 'w': 0.5}",
    *same("""
        {'w': np.float32(0.5), 'V': 0}; {'theta.V': 0.0, 'w': 0.5}; {np.str_('V'): 0.0, 'w': np.array(0.5)};
        {'W_1': 0.5, 'w.W_2': 0.5, 'V': 0.0}; __import__('types').MappingProxyType({})
    """),
    *open_("None; dict()"),
    *bad("""
        'V'; 0.5; True; [0.0]; ['V']; {'V'}; object(); len; ...; np.zeros(3); {'V': -1.0}; {'V': None};
        {'V': np.nan}; {'V': np.inf}; {'V': '0.5'}; {'V': True}; {'V': [0.5]}; {'V': 1j}; {'V': 1e-300};
        {'V': 1e300}; {'V': 10**400}; {3: 0.5}; {None: 0.5}; {('V',): 0.5}; {'theta.w': 0.5};
        {'V.V': 0.5}; {'': 0.5}; {'V': 1.0, 'theta.V': 1.0}; {'theta': 0.0, 'w': 0}; {'W_K': 0.5}
    """),
    *bad("{'theta.VV': 0.5}; {'thetta': 0.5}", words="did you mean"),
)
call(
    "wflow.losses.loss_of",
    "made.value(np.ones((1, 2)), np.array([[0.75, -1.0]]))",
    name=choice("huber"),
    huber_delta=number(0.5),
)
call(
    "wflow.TransformerObjective",
    "answers(made), made.risk(RHO), made.predict(RHO), made.rule.nodes",
    dataset=thing("DATA", "data", "eighths(3, 2, 3); wflow.Dataset; Q; (DATA, DATA)"),
    attention=thing("wflow.SoftmaxAttention()", "encoder", *ENCODERS, *WRONG_ENCODERS).plus(
        *bad("wflow.FeedForward(); 'attention'")
    ),
    feedforward=thing("wflow.FeedForward('tanh')", "encoder", *ENCODERS, *WRONG_ENCODERS).plus(
        *bad("wflow.SoftmaxAttention()")
    ),
    weight_decay=number(0.25, zero=True),
    depth=choice("split-euler"),
    layers=count(2),
    mobility=MOBILITY,
    precision=1e-15,
)
call(
    "wflow.TransformerObjective",
    "answers(made, wflow.Particles(w=eighths(5, 3, 4))), made.internal",
    dataset=thing("DATA", "data"),
    feedforward=thing("wflow.FeedForward()", "encoder", "Q", *WRONG_ENCODERS[:3]),
    loss=choice("huber"),
    huber_delta=number(0.5),
    entropy=number(0.5, zero=True),
    depth=choice("rk4-nodes"),
    layers=count(2),
    precision=1e-15,
)
call(
    "wflow.TransformerObjective",
    "answers(made, wflow.Particles(theta=eighths(2, 3, 1))), made.internal",
    dataset=thing("DATA", "data"),
    attention=thing("Wrong()", "encoder", "Q", *WRONG_ENCODERS),
    layers=count(2),
    precision=1e-15,
)
MEASURE = (
    "CLOUD",
    "HILL",
    "wflow.Particles(theta=eighths(2, 2, 8))",
    "wflow.Particles(theta=eighths(2, 2, 8), w=eighths(2, 3, 5))",
    "wflow.Particles(theta=eighths(1, 2, 8), w=eighths(1, 3, 4))",
    "wflow.Particles(theta=eighths(2, 2, 8), w=eighths(2, 3, 4), v=eighths(2, 3, 4))",
    "dict(RHO.blocks)",
    "eighths(2, 2, 8)",
    "wflow.Particles",
)
for method in ("value", "risk", "predict", "dissipation", "evaluate", "linearise", "velocity", "prepare"):
    probe = {
        "evaluate": "made.value, dict(made.velocity)",
        "linearise": "made.value, made.first_variation",
        "velocity": "dict(made)",
        "prepare": "masses(made)",
    }.get(method, "made")
    call(f"Q.{method}", probe, rho=thing("RHO", "measure", *MEASURE))
    if method not in ("risk", "predict"):
        call(f"HEAT.{method}", probe, rho=thing("CLOUD", "measure", "RHO; wflow.Particles; dict(CLOUD.blocks)"))
call(
    "Q.predict",
    "made",
    rho=thing("RHO", "measure", *MEASURE),
    tokens=array("eighths(4, 2, 3)", optional=True).plus(*bad("eighths(4, 3, 2); eighths(2, 3)")),
    precision=1e-15,
)
call(
    "Q.risk",
    "made",
    rho=thing("RHO", "measure"),
    dataset=thing("DATA.subset([0, 1])", "data", "LINE; eighths(3, 2, 3); RHO", optional=True),
    precision=1e-15,
)
call(
    "Q.first_variation",
    "made",
    rho=thing("RHO", "measure", *MEASURE),
    points=fixed(
        "{'w': eighths(2, 1, 4)}",
        *same("""
        {'w': eighths(2, 1, 4).tolist()}; {'w': strided(eighths(2, 1, 4))};
        {'w': np.asfortranarray(eighths(2, 1, 4))}
    """),
        *bad("""
        {'w': eighths(2, 1, 3)}; {'v': eighths(2, 1, 4)}; eighths(2, 1, 4); 'w'; 3; {'w': None}; {'w': 'a'};
        {'w': np.full((2, 1, 4), np.nan)}
    """),
        *bad("""
        {'w': eighths(2, 1, 4) + 1j}; {'w': masked(eighths(2, 1, 4))}; {'w': eighths(1, 4)};
        {'w': 1.0}; [1]
    """),
    ),
    precision=1e-15,
)
FUNCTIONS = (
    "lambda x: x",
    "lambda x: 1.0",
    "lambda x: None",
    "lambda x: 'text'",
    "lambda x: bowl(x)[:1]",
    "lambda x: bowl(x)[:, None]",
    "lambda x: bowl(x) * 1j",
    "lambda x: bowl(x) * np.nan",
    "lambda x: bowl(x).astype(str)",
    "lambda x: masked(bowl(x))",
    "lambda x: bowl(x) > 0",
    "lambda x: [None] * len(x)",
    "{}(CLOUD.x[0])",
)
GRADIENTS = (
    "lambda x: x[:, :0]",
    "lambda x: 1.0",
    "lambda x: None",
    "lambda x: 'text'",
    "lambda x: x[:1]",
    "lambda x: x[:, 0]",
    "lambda x: x * 1j",
    "lambda x: x * np.nan",
    "lambda x: x.astype(str)",
    "lambda x: masked(x)",
    "lambda x: x > 0",
    "lambda x: x.T",
    "lambda x: np.zeros((len(x), 3))",
    "lambda x: np.ones(len(x))",
)
FUNCTION = (
    thing("bowl", "function", *FUNCTIONS)
    .plus(
        *same("lambda x: 1 * bowl(x); lambda x: readonly(bowl(x))"),
        *same("lambda x: bowl(x).astype('f4')", rtol=1e-6),
        *either("""
        lambda x: bowl(x).tolist(); lambda x: bowl(x).astype(object); lambda x: np.longdouble(bowl(x))
    """),
    )
    .without("len", "type({})")
)
GRADIENT = (
    thing("identity", "function", *GRADIENTS)
    .plus(
        *same("lambda x: 1 * x; lambda x: readonly(x); lambda x: np.asfortranarray(x)"),
        *same("lambda x: x.astype('f4')", rtol=1e-6),
        *either("lambda x: x.tolist(); lambda x: x.astype(object)"),
    )
    .without("len", "type({})")
)
ON_CLOUD = "answers(made, CLOUD), course(wflow.solve(made, CLOUD, (0, 0.25), dtau=0.125))"
call("wflow.PotentialEnergy", ON_CLOUD, function=FUNCTION, grad=GRADIENT)
call("wflow.InteractionEnergy", ON_CLOUD, function=FUNCTION, grad=GRADIENT, precision=1e-12)
NAN = ("lambda x: bowl(x) * np.nan", "lambda x: x * np.nan")
call(
    "wflow.PotentialEnergy",
    "answers(made, HILL)",
    function=FUNCTION.without(*NAN),
    grad=GRADIENT.without(*NAN),
    precision=1e-12,
)
call(
    "wflow.InteractionEnergy",
    "made.value(HILL), made.first_variation(HILL)",
    function=FUNCTION.without(*NAN),
    grad=GRADIENT.without(*GRADIENTS),
    precision=1e-12,
)
call("wflow.Entropy", "made.value(HILL), made.sigma", sigma=number(0.5))
call("wflow.PorousMedium", "made.value(HILL), made.m", m=number(2.0).plus(*bad("1; 0.5; 1.0")))
call(
    "wflow.BlobEnergy",
    "answers(made, CLOUD)",
    internal=thing("wflow.Entropy(0.5)", "energy", "V; wflow.Entropy; HEAT; Q"),
    epsilon=number(0.5).plus(
        *same("{'x': 0.5}; {'x': np.float32(0.5)}; {'x': np.array(0.5)}"),
        *bad("""
        {'y': 0.5}; dict(); {'x': -0.5}; {'x': '0.5'}; {'x': None}; {'x': np.nan}; {'x': True}; {'x': dict()}
    """),
    ),
)
call(
    "wflow.BlobEnergy",
    "answers(made, CLOUD)",
    internal=thing("wflow.PorousMedium(2.0)", "energy", "V; wflow.Entropy; HEAT"),
    epsilon=number(0.5),
    box=INTERVALS.without("{'x': ((-2, 2), (-2, 2))}"),
    cells=fixed(
        "{'x': 16}",
        *same("{'x': [16]}; {'x': np.int64(16)}"),
        *bad("""
        {'x': 2}; {'x': -1}; {'x': 1.5}; {'x': '16'}; {'x': None}; dict(); None; {'y': 16}; 16; {'x': 10**12};
        {'x': (16, 16)}; 'x'
    """),
    ),
)
call(
    "V.__add__",
    "made.internal, made.value(CLOUD)",
    other=thing("wflow.Entropy(0.5)", "energy").without(*(c.template for c in thing("V", "e").changes)),
)
call(
    "wflow.Entropy(0.5).estimate",
    "made",
    rho=thing("CLOUD", "measure", "HILL; RHO; wflow.Particles(x=[[1.0], [1.0]]); wflow.Particles(x=[[1.0]])"),
)

# ---- laws

MEAN = fixed(
    "[0.5, -0.25]",
    *same("""
        (0.5, -0.25); np.array([0.5, -0.25]); np.array([0.5, -0.25], 'f4'); lambda t: [0.5, -0.25];
        lambda t: np.array([0.5, -0.25]); strided(np.array([0.5, -0.25]))
    """),
    *bad("""
        [0.5]; [0.5, 0.25, 1]; None; '0.5'; ['0.5', '0.25']; [np.nan, 0]; [np.inf, 0]; [0.5j, 0];
        [[0.5, -0.25]]; np.zeros((2, 2))
    """),
    *bad("""
        lambda t: 'a'; lambda t: None; lambda t: [1.0]; lambda t: [np.nan, 0]; lambda t: [0.5j, 0]; {'a': 1};
        object(); []; masked([0.5, -0.25])
    """),
    *bad("""
        [True, False]; [None, 0.5]; {0.5, -0.25}; len; True; lambda t: True; lambda t: masked([0.5, -0.25]);
        np.array([1, 2], 'm8[s]')
    """),
)
STD = number(0.5).plus(
    *same("""
        lambda t: 0.5; lambda t: np.float64(0.5); lambda t: np.float32(0.5); lambda t: np.array(0.5)
    """),
    *bad("""
        'lecum'; 'He'; lambda t: -0.5; lambda t: 0.0; lambda t: t; lambda t: 'a'; lambda t: None;
        lambda t: np.nan; lambda t: [0.5, 0.5]; lambda t: True; lambda t: 1j
    """),
)
LAW_PROBE = "masses(made.sample(Q_LINE, 4, 7)), masses(made.on_grid(Q_LINE, {'w': ((-6, 6), (-6, 6))}, 48))"
SAMPLED = "masses(made.sample(Q_LINE, 4, 7))"
call("initial.gaussian", LAW_PROBE, std=STD.without("len"), mean=MEAN)
call(
    "initial.gaussian",
    LAW_PROBE,
    std=choice("lecun", suggests=False).without("3", "1.5", "len").plus(*bad("'lecum'; 0; -1")),
    mean=number(0.5, sign=True).without("[{}]", "np.array([{}])", "[{}, {}]", "np.array([{}, {}])", "len"),
)
call(
    "initial.ball",
    SAMPLED,
    radius=number(0.5)
    .plus(
        *same("lambda t: 0.5"), *bad("lambda t: -0.5; lambda t: None; lambda t: 'a'; lambda t: np.nan; lambda t: True")
    )
    .without("len"),
)
ATOMS = (
    array("np.array([[0.5, -0.25], [1.0, 0.0]])")
    .plus(
        *same("lambda t: [[0.5, -0.25], [1.0, 0.0]]"),
        *bad("""
        lambda t: None; lambda t: [0.5]; lambda t: [[np.nan, 0.0]]; lambda t: 'a'; np.zeros((2, 3));
        np.zeros((3, 2))
    """),
    )
    .without("len")
)
call(
    "initial.atoms",
    "masses(made.sample(Q_LINE, None, 7)), masses(made.sample(Q_LINE, 4, 7))",
    points=ATOMS,
    weights=array("np.array([0.25, 0.75])", optional=True).plus(
        *bad("[0.5, 0.6]; [1.0, 0.0]; [1.5, -0.5]; [1.0]; [[0.5, 0.5]]")
    ),
)
LAWS = ("'gaussian'", "initial.gaussian", "initial.product(w=initial.gaussian())", "Q")
call("initial.product", SAMPLED, w=thing("initial.gaussian(0.5)", "law", *LAWS))
call(
    "initial.product",
    SAMPLED,
    W_1=thing("initial.gaussian(0.5)", "law", *LAWS),
    W_2=thing("initial.ball(2.0)", "law", *LAWS),
)
WIDTH = count(4).plus(
    *same("{'w': 4}; {'w': np.int64(4)}"),
    *bad("""
        {'v': 4}; dict(); {'w': 0}; {'w': 4.5}; {'w': '4'}; {'w': True}; {'w': None}; {'w': 4, 'theta': 4};
        {'w': 10**12}
    """),
)
OBJECTIVE = thing("Q_LINE", "energy", "V; LINE; wflow.TransformerObjective; 'w'")
for law in ("initial.gaussian(0.5)", "initial.ball(2.0)"):
    call(
        f"{law}.sample",
        "masses(made)",
        objective=OBJECTIVE,
        M=WIDTH,
        rng=seed(7),
        kind=choice("net"),
        dtype=fixed(
            "'float64'",
            *same("np.float64; float; np.dtype('f8'); np.dtype(float)"),
            *same("'float32'; np.float32; np.dtype('f4')", rtol=1e-6),
            *open_("'f8'; 'd'; None"),
            *bad("'float16'; 'int'; int; 3; 'float46'; object; complex; np.zeros(3); 'x'; [1]; True; str"),
        ),
    )
    call(
        f"{law}.on_grid",
        "masses(made)",
        objective=OBJECTIVE,
        box=fixed(
            "{'w': ((-6, 6), (-6, 6))}",
            *same("{'w': [[-6.0, 6.0]] * 2}; {'w': np.array([[-6, 6], [-6, 6]])}"),
            *bad("""
        {'w': ((-6, 6),)}; {'v': ((-6, 6), (-6, 6))}; dict(); None; 3; 'w'; {'w': None};
        {'w': ((6, -6), (-6, 6))}; {'w': ((-np.inf, 6), (-6, 6))}; {'w': ((40, 42), (40, 42))};
        {'w': (('a', 'b'), (-6, 6))}; [1]
    """),
        ),
        cells=count(48)
        .without("[{}, {}]", "np.array([{}, {}])")
        .plus(
            *either("[{}, {}]; np.array([{}, {}])"),
            *same("{'w': 48}; {'w': (48, 48)}; {'w': [48, np.int64(48)]}; {'w': np.array([48, 48])}"),
            *bad("""
        2; 1; {'w': 2}; {'w': (48,)}; {'w': (48, 48, 48)}; {'v': 48}; dict(); {'w': 48.5}; {'w': '48'};
        {'w': None}; {'w': True}; {'w': (48, None)}; {'w': (10**6, 10**6)}; {'w': 10**9}; '48'
    """),
        ),
    )

# ---- observers, distances

for name in ("Risk", "ErrorRate", "KernelMax", "KernelMin", "Amplification"):
    call(
        f"observers.{name}",
        "made(RHO)",
        objective=thing("Q", "energy", "V; DATA; wflow.TransformerObjective; HEAT"),
        dataset=thing("DATA.subset([0, 1])", "data", "LINE; eighths(3, 2, 3); RHO", optional=True),
    )
call(
    "observers.ErrorRate",
    "made(RHO)",
    objective=thing("Q", "energy"),
    dataset=thing(
        "wflow.Dataset(eighths(2, 2, 3), [1.0, -1.0], (1, -1))",
        "data",
        """
        wflow.Dataset(eighths(2, 2, 3), [0.0, 1.0], (1, -1));
        wflow.Dataset(eighths(2, 2, 3), [1.0, 2.0], (1, -1));
        wflow.Dataset(eighths(2, 2, 3), [0.5, -0.3], (1, -1))
    """,
        optional=True,
    ),
)
call("observers.Virial", "made(CLOUD)", objective=thing("HEAT", "energy", "V; Q; wflow.Entropy; DATA"))

# ---- the tangent kernel

KERNEL = {
    "objective": thing("Q", "energy", "V; DATA; wflow.TransformerObjective; HEAT"),
    "rho": thing("RHO", "measure", "V; wflow.Particles; CLOUD"),
    "dataset": thing("DATA.subset([0, 1])", "data", "LINE; eighths(3, 2, 3); RHO", optional=True),
}
for by in ("block", "group"):
    call("wflow.tangent_kernel", "made", by=choice(by, optional=True), precision=0.0, **KERNEL)
call("wflow.tangent_kernel", "made", precision=0.0, **KERNEL)
call("tangent.kernel_shares", "made", by=choice("group"), precision=0.0, **KERNEL)
call("wflow.kernel_spectrum", "made.values, made.rates, made.words", precision=0.0, **KERNEL)
call("wflow.output_variance", "made", std=number(0.5, zero=True), precision=0.0, **KERNEL)

# ---- landscapes

CLOUDS = "V; wflow.Particles; 3; HILL"
DIRECTION = fixed(
    "{'x': [[[1.0], [0.0], [2.0]]]}",
    *same("{'x': np.array([[[1.0], [0.0], [2.0]]])}; CLOUD.replace(x=[[[1.0], [0.0], [2.0]]]).blocks"),
    *same("{'x': np.array([[[1], [0], [2]]], 'i2')}; {'x': np.array([[[1], [0], [2]]], 'f4')}"),
    *bad("""
        None; 3; 'x'; dict(); {'y': np.ones((1, 3, 1))}; {'x': np.ones((1, 2, 1))}; {'x': np.ones((3, 1))}; {'x': None};
        {'x': np.zeros((1, 3, 1))}; {'x': np.full((1, 3, 1), np.nan)}; {'x': 1.0}; {'x': np.ones((1, 3, 1)) * 1j}
    """),
)
OTHER = fixed(
    "{'x': [[[1.0], [1.0], [-1.0]]]}", *bad("{'x': [[[2.0], [0.0], [4.0]]]}; None; {'x': np.ones((1, 2, 1))}")
)
call(
    "wflow.landscape",
    "made.energy, dict(made.directions[0]), dict(made.directions[1]), made.project(CLOUD)",
    objective=thing("V", "energy", "DATA; wflow.TransformerObjective; Q"),
    rho=thing("CLOUD", "measure", CLOUDS + "; RHO"),
    d1=DIRECTION,
    d2=OTHER,
    a=array("np.array([0.0, 0.5])").plus(*bad("0.5; [[0.5]]")),
    b=array("np.array([-1.0, 0.25, 1.0])").plus(*bad("0.5; [[0.5]]")),
    precision=1e-14,
)
call(
    "landscapes.direction_to",
    "dict(made)",
    rho=thing("CLOUD", "measure", CLOUDS),
    other=thing("wflow.Particles(x=[[[1.0], [0.0], [2.0]]])", "measure", CLOUDS + "; wflow.Particles(x=[[1.0]])"),
)
call(
    "landscapes.principal_directions",
    "dict(made[0]), dict(made[1]), made[2]",
    objective=thing("V", "energy", "DATA; wflow.TransformerObjective; Q"),
    measures=fixed(
        "[CLOUD, wflow.Particles(x=[[[1.0], [0.0], [2.0]]]), wflow.Particles(x=[[[0.0], [1.0], [0.5]]])]",
        *same("tuple({})"),
        *bad("[]; None; 3; [CLOUD]; [CLOUD, CLOUD, CLOUD]; [CLOUD, RHO, CLOUD]; [HILL, HILL, HILL]; CLOUD; [1, 2, 3]"),
    ),
)
call(
    "landscapes.random_directions",
    "dict(made[0]), dict(made[1])",
    rho=thing("CLOUD", "measure", CLOUDS),
    rng=seed(3),
)
call(
    "wflow.certificate",
    "made.verdict, made.energy, made.speed, made.starts",
    objective=KERNEL["objective"],
    rho=KERNEL["rho"],
    starts=count(2),
    tol=number(0.0009765625, zero=True),
    tau=number(0.5),
    rng=seed(3),
    precision=1e-9,
)
call(
    "distances.conditional_w2",
    "made",
    a=thing(
        "CLOUD",
        "measure",
        """
        RHO; V; wflow.Particles; wflow.Particles(x=eighths(2, 3, 1)); wflow.Particles(y=[[1.0]]);
        wflow.Particles(x=[[1.0, 2.0]]); CLOUD.x
    """,
    ),
    b=thing("wflow.Particles(x=[[0.0], [1.0]])", "measure", "RHO; wflow.Particles(x=eighths(2, 3, 1))").plus(
        *same(
            """
        wflow.Particles(x=np.array([[0.0], [1.0]], 'f4')); wflow.Particles(x=[[1.0], [0.0]]);
        wflow.Particles(x=[[0.0], [1.0]], weights={'x': [[0.5, 0.5]]})
    """,
            rtol=1e-14,
        )
    ),
)
MEAN_A, COV_A = (
    array("np.array([0.5, 1.0])").plus(*bad("[0.5]; np.zeros(3)")),
    array("np.array([[2.0, 0.5], [0.5, 1.0]])").plus(
        *bad("""
        np.eye(3); -np.eye(2); np.array([[1.0, 2.0], [0.0, 1.0]]); np.array([[1.0, 2.0], [2.0, 1.0]]);
        1e-9 * np.array([[1.0, 2.0], [2.0, 1.0]]); 1e-9 * np.array([[1.0, 0.5], [0.0, 1.0]]); np.ones(2); 1.0;
        np.ones((2, 1))
    """)
    ),
)
call("distances.gaussian_w2", "made", mean_a=MEAN_A, cov_a=COV_A, mean_b=MEAN_A, cov_b=COV_A, precision=1e-12)

# ---- problems

PROBLEM = "answers(made.energy, made.rho0), made.value(0.5), made.predictions(0.25)"
DEPTH, BLOCKS = (
    choice("split-euler"),
    fixed(
        "('theta', 'w')",
        *same("['theta', 'w']; {'theta', 'w'}; ('w', 'theta'); np.array(['theta', 'w'])"),
        *bad("""
        'theta'; (); ('theta', 'v'); None; 3; ('thetaa', 'w'); [1, 2]; [None]; object(); True;
        ('theta', 'w', 'v')
    """),
    ),
)
COMMON = {"weight_decay": number(0.5, zero=True), "layers": count(2), "width": count(3), "depth": DEPTH, "rng": seed(4)}
call(
    "problems.pure_decay",
    PROBLEM,
    activation=choice("tanh").plus(*bad("'sigmoid'; 'softplus'")),
    precision=1e-13,
    **COMMON,
)
call(
    "problems.constant_encoders",
    PROBLEM,
    blocks=BLOCKS,
    precision=1e-13,
    **COMMON,
)
call(
    "problems.single_token",
    PROBLEM,
    blocks=BLOCKS,
    limit=boolean(False),
    precision=1e-12,
    **COMMON | {"width": count(1)},
)
call("problems.two_layer", PROBLEM, precision=1e-12, **COMMON)
call(
    "problems.sine_circle",
    PROBLEM,
    layers=count(2),
    width=count(16),
    offset=number(0.25, sign=True),
    depth=DEPTH,
    precision=1e-12,
)
call(
    "problems.pure_decay",
    PROBLEM,
    rho0=thing("RHO", "measure", *MEASURE, optional=True),
    layers=count(2),
    precision=1e-12,
)
TIME = number(0.5, sign=True)
for method in ("value", "risk", "measure", "predictions"):
    call(
        f"problems.constant_encoders(layers=2, width=2).{method}",
        "masses(made)" if method == "measure" else "made",
        tau=TIME,
    )

# ---- controllers, schemes

SOLVED = "course(wflow.solve(V, CLOUD, (0, 0.5), controller=made))"
call("controllers.Fixed", SOLVED, dtau=number(0.125).plus(*open_("1e-300; 5e-324; 1e300")), monotone=boolean(True))
call(
    "controllers.Adaptive",
    SOLVED,
    rtol=number(0.125, zero=True),
    atol=number(0.0625, zero=True),
    dtau=number(0.125, optional=True).plus(*open_("1e-300; 5e-324; 1e300")),
)
call(
    "controllers.Replay",
    SOLVED,
    steps=array("np.array([0.125, 0.25])").plus(
        *open_("[1e-300]; [0.125]"), *bad("[0.125, 0.0]; [-1.0, 1.0]; [0.125, -0.125]")
    ),
)


def solved(energy: str, rho: str, end: float, dtau: float) -> str:
    """The course of a small run with the made scheme."""
    return f"course(wflow.solve({energy}, {rho}, (0, {end}), scheme=made, dtau={dtau}, rng=5))"


MANY, SOME = count(200, sized=False), count(10, sized=False)
PARTICLES, DENSITY = solved("V", "CLOUD", 0.5, 0.25), solved("HEAT", "HILL", 0.5, 0.25)
NOT = number(0.0, zero=True)
OUTER = number(0.0009765625, zero=True)
for name in ("DiscreteGradient", "AVF"):
    call(f"schemes.{name}", PARTICLES, max_iter=count(25, sized=False).plus(*open_("1")))
for name in ("BDF2", "Midpoint"):
    call(f"schemes.{name}", PARTICLES, max_iter=MANY, memory=SOME)
call("schemes.JKO", PARTICLES, max_iter=MANY, memory=SOME, check_every=count(10, least=0, sized=False))
for name in ("Langevin", "EulerMaruyama"):
    call(f"schemes.{name}", solved("HEAT", "CLOUD", 0.5, 0.25), cap=number(1.0).plus(*open_("1e-9; 1e300")))
call(
    "schemes.Blob", solved("HEAT", "CLOUD", 0.5, 0.25), epsilon=number(0.5, optional=True).plus(*open_("1e-300; 1e300"))
)
call("schemes.QuantileJKO", solved("HEAT", "CLOUD", 0.5, 0.25), max_inner=count(50, sized=False))
call(
    "schemes.Kernel",
    solved("HEAT", "FINE", 0.5, 0.25),
    levels=count(2, sized=False).plus(*open_("20; 60; 1")),
    outer_mass=OUTER,
)
call("schemes.FiniteVolume", DENSITY, extrapolate=boolean(True), outer_mass=OUTER)
call("schemes.Muscl", solved("V", "HILL", 0.125, 0.03125), outer_mass=OUTER)
call(
    "schemes.EntropicJKO",
    solved("HEAT", "HILL", 1.0, 0.5),
    gamma=number(0.5, optional=True).plus(*bad("1.5")),
    debias=boolean(True),
    richardson=count(1, sized=False).plus(*open_("2; 3"), *bad("4; 100")),
    outer_mass=OUTER,
    prox=thing(
        "schemes.entropy_prox",
        "function",
        """
        lambda s, p, w, e: None; lambda s, p, w, e: 'a'; lambda s, p, w, e: s[..., :1];
        lambda s, p, w, e: s * np.nan; lambda s, p, w, e: s + 1j; lambda s, p, w, e: 1.0 * s[0, 0]
    """,
        optional=True,
    ).without("len"),
)
call(
    "schemes.RungeKutta",
    PARTICLES,
    name=fixed("'mine'", *same("np.str_('mine')"), *bad("3; None; b'a'; ['mine']")),
    order=count(2, sized=False).plus(*bad("3; 4; 9")),
    error_order=count(2, sized=False).plus(*open_("1; 3")),
    stability=number(2.0, optional=True),
    a=fixed(
        "((1.0,), (0.5, 0.5))",
        *same("""
        [[1.0], [0.5, 0.5]]; ((1,), (0.5, np.float64(0.5))); [np.array([1.0]), np.array([0.5, 0.5])]
    """),
        *bad("""
        ((1.0,), (0.5,)); ((1.0, 2.0), (0.5, 0.5)); ((1.0,), (0.5, 0.25)); ((np.nan,), (0.5, 0.5)); None; 3;
        'ab'; (); ((1.0,), ('a', 0.5)); ((1.0,), None); np.eye(2); ((1j,), (0.5, 0.5))
    """),
    ),
    b_hat=fixed(
        "(1.0, 0.0, 0.0)",
        *same("[1, 0, 0]; np.array([1.0, 0.0, 0.0]); np.array([1, 0, 0], 'f4')"),
        *bad("""
        (1.0, 0.0); (1.0,); (1.0, np.nan, 0.0); None; 3; 'abc'; (); (1.0, 0.5, 0.0); (1j, 0, 0);
        (1.0, None, 0.0); ('1', '0', '0')
    """),
    ),
)
call(
    "schemes.scheme_of",
    PARTICLES,
    scheme=choice("jko").without("'xyzzy'").plus(*bad("'xyzzy'"), *same("schemes.JKO; schemes.JKO()")),
    max_iter=MANY,
    memory=SOME,
)
call(
    "schemes.scheme_of",
    solved("HEAT", "FINE", 0.5, 0.25),
    scheme=choice("kernel").plus(*same("schemes.Kernel; schemes.Kernel()")),
    levels=count(2, sized=False),
    outer_mass=OUTER,
)

# ---- solve

call(
    "wflow.SaveAt",
    "course(wflow.solve(V, CLOUD, (0, 1), dtau=0.25, save=made))",
    every=number(0.5, optional=False).plus(*open_("1e-3; 1e-300; 1e300; 1e17")),
)
call(
    "wflow.SaveAt",
    "course(wflow.solve(V, CLOUD, (0, 1), dtau=0.25, save=made))",
    tau=array("np.array([0.25, 0.5, 0.75])", optional=False)
    .without("np.array({})[:0]", "np.zeros(0)", "[]", "()")
    .plus(
        *bad("[0.5, 0.25]; [0.5, 0.5]; [2.0]; [-1.0, 0.5]; [0.25, 1.5]"),
        *open_("""
        []; np.zeros(0);
        [0.0, 0.5]; [0.5, 1.0]; np.linspace(0, 1, 3000)[1:]; [0.5, np.nextafter(0.5, 1)]; [1e-300, 0.5]
    """),
    ),
)
call("wflow.SaveAt", "course(wflow.solve(V, CLOUD, (0, 1), dtau=0.25, save=made))", steps=count(2, sized=False))
RANGE = fixed(
    "(0.0, 0.5)",
    *same("""
        [0, 0.5]; np.array([0.0, 0.5]); (np.int64(0), np.float32(0.5)); np.array([0, 0.5], 'f4');
        (np.array(0.0), np.array(0.5))
    """),
    *either("{0.0: 1, 0.5: 2}; iter([0.0, 0.5])"),
    *open_("""
        (0.0, 1e17); (1e17, 1e17 + 64); (1e6, 1e6 + 0.5); (-1.0, -0.5); (0.0, 1e-300); (0.0, 5e-324);
        (1.0, np.nextafter(1.0, 2.0)); (-1e308, 1e308); (1e308, 1.5e308); (0.0, 50.0); (0, 1e300)
    """),
    *bad("""
        (0.5, 0.0); (0.0, 0.0); (0.0, np.nan); (0.0, np.inf); (-np.inf, 0.5); 0.5; (0.5,); (0.0, 0.25, 0.5);
        None; '01'; ('0', '0.5'); (False, True); (0j, 0.5); (0.0, None); (); (0, 10**400); object(); len;
        masked([0.0, 0.5]); np.array(['0', '0.5']); np.array([0, 1], 'm8[s]'); (None, 0.5); ((0.0,), (0.5,));
        b'01'; (0.0, 0.5 + 1e-3j); (0.0, True); np.array([[0.0, 0.5]]); (0.0, np.array([0.5, 1.0]))
    """),
)
SAVE = (
    thing("wflow.SaveAt(every=0.25)", "save", "0.25; 'every'; wflow.SaveAt; {'every': 0.25}; [0.25]", optional=True)
    .plus(
        *same("wflow.SaveAt(tau=[0.25]); wflow.SaveAt(every=np.float32(0.25))"),
        *bad("wflow.SaveAt(tau=[3.0]); wflow.SaveAt(tau=[-1.0, 0.25])"),
        *open_("""
        wflow.SaveAt(every=1e-2); wflow.SaveAt(every=1e-300); wflow.SaveAt(steps=1);
        wflow.SaveAt(every=1e9)
    """),
    )
    .without("[{}]")
)
OBSERVE = fixed(
    "{'second': second_moment}",
    *same("""
        {'second': lambda rho: np.float64(second_moment(rho))};
        {'second': lambda rho: np.array(second_moment(rho))};
        __import__('types').MappingProxyType({'second': second_moment})
    """),
    *same("{'second': lambda rho: np.float32(second_moment(rho))}", rtol=1e-6),
    *either("""
        {'second': lambda rho: np.array([second_moment(rho)])}; {'second': lambda rho: [second_moment(rho)]}
    """),
    *open_("""
        {'second': lambda rho: np.nan}; {'second': lambda rho: np.inf}; {'second': lambda rho: True}; dict();
        None; {'a b': second_moment, 'c': second_moment}; {'': second_moment}; {'é': second_moment}
    """),
    *bad("""
        {'second': lambda rho: rho.x}; {'second': lambda rho: None}; {'second': lambda rho: 'text'};
        {'second': lambda rho: '1.5'}; {'second': lambda rho: 1j}; {'second': lambda rho: rho};
        {'second': lambda rho: [1.0, 2.0]}; {'second': lambda rho: np.array('1')};
        {'second': lambda rho: np.array([True, False])}
    """),
    *bad("""
        {'tau': second_moment}; {'a/b': second_moment}; {3: second_moment}; {'second': 3}; {'second': None};
        second_moment; [second_moment]; 'second'; 3; {'second': 'risk'}; True;
        {'second': lambda rho: np.ma.masked}; {'second': lambda rho: object()}; {'second': lambda rho: b'1'};
        {'second': lambda rho: np.datetime64('2020')}; {None: second_moment};
        {'second': lambda rho: np.timedelta64(3)}
    """),
)
ENERGY = thing("V", "energy", "bowl; RHO; wflow.PotentialEnergy; Q; HEAT; DATA")
START = thing("CLOUD", "measure", "RHO; HILL; wflow.Particles; CLOUD.x; V; dict(CLOUD.blocks); 'x'")
SCHEME = choice("heun").plus(
    *same("schemes.SCHEMES['heun']"),
    *bad("""
        'langevin'; 'kernel'; 'finite-volume'; schemes.Kernel(); schemes.Langevin; schemes; RHO;
        controllers.Fixed(0.1); type('Mine', (), {})();
        type('Mine', (schemes.Scheme,), {'name': 'mine', 'order': 1})()
    """),
)
PROGRESS = (
    boolean(False)
    .without("None")
    .plus(*open_("None"))
    .without(
        "'yes'",
        "'True'",
        "'false'",
        "2",
        "-1",
        "np.nan",
        "[]",
        "[{}]",
        "np.array([{}, {}])",
        "object()",
        "len",
        "''",
        "0.5",
        "'0'",
        "b''",
    )
    .plus(*bad("'yes'; 2; np.nan; object()"))
)
SAVED = "course(made)"
call(
    "wflow.solve",
    SAVED,
    energy=ENERGY,
    rho0=START,
    tau_range=RANGE,
    scheme=SCHEME,
    dtau=number(0.125, optional=True).plus(*open_("1e-3; 1e-300; 5e-324; 1e300; 0.3; 1e-17; None")),
    save=SAVE,
    observe=OBSERVE,
    tol=number(0.0009765625, zero=True),
    max_seconds=number(128.0, optional=True).plus(*open_("None; 1e-300; 1e300")),
    progress=PROGRESS,
)
call(
    "wflow.solve",
    SAVED,
    energy=ENERGY,
    rho0=START,
    tau_range=RANGE,
    scheme=choice("bs3").plus(*bad("'jkoo'; 'euler'; 'langevin'")),
    rtol=number(0.0009765625, zero=True).plus(*open_("1e-300; 1e-17; 1e300; 1e-12")),
    atol=number(0.0009765625, zero=True).plus(*open_("1e-300; 1e300; 1e-12")),
    save=SAVE,
    observe=OBSERVE,
)
call(
    "wflow.solve",
    SAVED,
    energy=thing("HEAT", "energy", "V; Q"),
    rho0=thing("CLOUD", "measure", "RHO; HILL"),
    tau_range=RANGE,
    scheme=choice("langevin").plus(*bad("'heun'; 'kernel'")),
    dtau=number(0.125, optional=True).plus(*open_("None; 1e-3; 1e-300; 1e300")),
    rng=seed(6, draws=False),
    save=SAVE.without("wflow.SaveAt(tau=[0.25])"),
    observe=OBSERVE,
)
call(
    "wflow.solve",
    SAVED,
    energy=thing("HEAT", "energy", "Q; wflow.PorousMedium(2.0)"),
    rho0=thing("HILL", "measure", "RHO; CLOUD"),
    tau_range=RANGE,
    scheme=choice("finite-volume").plus(*bad("'heun'; 'muscl'; 'langevin'; 'dopri5'")),
    dtau=number(0.125, optional=True).plus(*open_("None; 1e-3; 1e-300; 1e300")),
    save=SAVE,
    observe=OBSERVE,
    precision=1e-9,
)
call(
    "wflow.solve",
    SAVED,
    energy=thing("Q", "energy", "V; HEAT; Q_LINE"),
    rho0=thing("RHO", "measure", *MEASURE),
    tau_range=RANGE,
    scheme=SCHEME,
    controller=thing(
        "controllers.Fixed(0.125)",
        "controller",
        "0.125; controllers; controllers.Fixed; {'dtau': 0.1}",
        optional=True,
    ).plus(*open_("None")),
    observe=OBSERVE.without("{'second': lambda rho: rho.x}"),
    save=SAVE,
    precision=1e-12,
)
call(
    "wflow.solve",
    SAVED,
    energy=thing("V", "energy"),
    rho0=thing("CLOUD", "measure"),
    tau_range=RANGE,
    dtau=number(0.125, optional=True).plus(*open_("None; 1e-3")),
    observe=OBSERVE,
    save=SAVE,
    path=path("file('new.h5')", new=True, optional=True).plus(
        *bad("file('run.h5'); pipe('pipe'); '/dev/null'; '/proc/new.h5'")
    ),
    overwrite=boolean(False).without("None").plus(*same("True")),
    attributes=fixed(
        "{'note': 'text'}",
        *same("{'note': np.str_('text')}; dict(); None"),
        *open_("{'note': 'é'}; {'': 'text'}; {'note': 'a' * 100_000}; {'note': 'a\\0b'}; {'a/b': 'text'}"),
        *bad("""
        3; 'note'; {'note': 3}; {'note': None}; {3: 'text'}; {'note': object()}; {'status': 'failed'};
        {'format': 'x'}; [1]; {'note': b'x'}; {'note': ['a']}; True
    """),
    ),
)
call(
    "wflow.solve",
    SAVED,
    energy=thing("HEAT", "energy"),
    rho0=thing("CLOUD", "measure"),
    tau_range=RANGE,
    scheme=choice("langevin").plus(*bad("'heun'")),
    dtau=number(0.125),
    rng=seed(6, draws=False),
    path=path("file('new.h5')", new=True, optional=True).plus(*bad("file('run.h5')")),
    overwrite=boolean(False).without("None").plus(*same("True")),
)


def from_file(name: str) -> Argument:
    """The path of a trajectory."""
    cuts = [f"cut('{name}', {share})" for share in (0.1, 0.5, 0.95)]
    others = ("file('new.h5')", "file('data.npz')", "file('foreign.h5')", f"file('{name}.resume')")
    return path(f"file('{name}')").plus(*bad(*cuts, *others), *open_(*(f"damaged('{name}', {k})" for k in range(40))))


TRAJECTORY = from_file("run.h5")
call("wflow.load", "course(made)", path=TRAJECTORY)
call("wflow.load", "course(made), made.settings['seed']", path=TRAJECTORY)
call(
    "wflow.resume",
    "course(made)",
    path=from_file("plain.h5").plus(
        *bad("""
        (file('plain.h5'), __import__('os').remove(file('plain.h5') + '.resume'))[0];
        (file('plain.h5'), cut('plain.h5.resume', 0.5))[0];
        (file('plain.h5'), written('plain.h5.resume', b'x'))[0]
    """),
        *open_(*(f"(file('plain.h5'), damaged('plain.h5.resume', {k}))[0]" for k in range(20))),
    ),
    tau_end=number(1.0, sign=True, optional=True).plus(
        *bad("0.25; -1.0; 0"), *open_("1e17; 0.5; 0.5000001; 1e-300 + 0.5")
    ),
    energy=thing("V", "energy", "RHO; Q; bowl; DATA"),
    max_seconds=number(128.0, optional=True).plus(*open_("None; 1e-300; 1e300")),
    progress=PROGRESS,
)
call(
    "SOLUTION.measure",
    "masses(made)",
    i=count(1, least=0).without("np.int64(-3)").plus(*same("-1"), *bad("5; -4")).without("-{}", "-1"),
)

# ---- figures

RUN, DENSITIES = "wflow.load(file('run.h5'))", "wflow.load(file('grid.h5'))"
SOLUTION = ("V", "CLOUD", "'run.h5'", "wflow.Solution", "{}.path", "{}.tau")
FRAMES = (
    count(2, sized=False, optional=False)
    .plus(
        *same("[0, 1]; (0, 1); np.array([0, -1])"),
        *bad("""
        [0, 9]; []; '2'; [0.5]; ['0']; [None]; [True, False]; (0, 10**30); np.zeros(0, int); [[0, 1]]
    """),
        *open_("[1, 0]; [1]; [0, 0]"),
    )
    .without("[{}]", "np.array([{}])", "[{}, {}]", "np.array([{}, {}])")
)
AXES = "len(made.axes), [len(a.lines) for a in made.axes], [a.get_xlabel() for a in made.axes]"
PAIR = fixed(
    "(0, 1)",
    *same("[0, 1]; np.array([0, 1]); (np.int64(0), 1)"),
    *open_("None; (1, 0); (-1, 0); (0, 0)"),
    *bad("""
        (0,); (0, 9); 3; '01'; (0.5, 1); (True, False); (None, 1); object(); (); (0, 10**30); ('0', '1');
        (np.nan, 1)
    """),
)
call(
    "figures.clouds",
    AXES,
    solution=thing("wflow.load(file('big.h5'))", "solution", *SOLUTION, DENSITIES),
    coordinates=PAIR,
    frames=FRAMES,
)
call(
    "figures.density",
    AXES,
    solution=thing(DENSITIES, "solution", *SOLUTION, RUN),
    frames=FRAMES,
    block=choice("x", suggests=False, optional=True),
    slices=fixed(
        "None", *same("1; [0]; np.int64(1)"), *bad("0; -1; [5]; '0'; 0.5; True; [None]; np.nan; object(); []")
    ),
    particles=thing(RUN, "cloud", "DATA; wflow.load(file('big.h5')); RHO", optional=True).plus(*open_("CLOUD")),
)
call("figures.depth", AXES, solution=thing("wflow.load(file('big.h5'))", "solution", *SOLUTION, RUN), frames=FRAMES)
call(
    "figures.energy",
    AXES,
    solution=thing(RUN, "solution", *SOLUTION),
    observed=fixed(
        "{'second': 'risk'}",
        *same("{np.str_('second'): 'risk'}"),
        *open_("None; dict(); {'second': 'error-rate'}"),
        *bad("""
        {'secnd': 'risk'}; {'second': 'risc'}; 'second'; 3; ['second']; {'second': None}; {3: 'risk'}; True
    """),
    ),
    defect=boolean(True),
    tau_scale=choice("log"),
)
call(
    "figures.predictions",
    AXES,
    solution=thing("wflow.load(file('big.h5'))", "solution", *SOLUTION, RUN),
    dataset=thing("DATA.subset([0, 1])", "data", "LINE; eighths(3, 2, 3); RHO", optional=True),
    objective=thing("Q", "energy", "V; DATA; Q_LINE", optional=True),
)
call(
    "figures.landscape",
    AXES,
    solution=thing("wflow.load(file('big.h5'))", "solution", *SOLUTION, DENSITIES),
    objective=thing("Q", "energy", "V; DATA; Q_LINE", optional=True),
    quantity=choice("risk"),
    points=count(3, least=3),
)
call(
    "figures.draw",
    AXES,
    kind=choice("energy"),
    solution=thing(RUN, "solution", *SOLUTION),
    defect=boolean(True),
    tau_scale=choice("log"),
)
call("figures.draw", AXES, kind=choice("clouds"), solution=thing(RUN, "solution", *SOLUTION), frames=FRAMES)
SIZE = "made.stat().st_size"
call(
    "figures.save",
    SIZE,
    figure=thing("figures.draw('energy', wflow.load(file('run.h5')))", "figure", "'energy'", RUN, "{}.axes"),
    path=path("file('out.pdf')", new=True).plus(
        *bad("file('out.txt'); file('out'); file('out.pd'); file('out.gif')"),
        *open_("file('out.png'); file('out.svg'); file('out.PDF')"),
    ),
)
call(
    "figures.animate",
    SIZE,
    solution=thing(RUN, "solution", *SOLUTION),
    path=path("file('out.gif')", new=True).plus(*bad("file('out.pdf'); file('out')")),
    frames=count(1, sized=False),
    fps=count(5, sized=False).without("10**12", "2**63 - 1", "2**63", "10**30"),
)

# ---- checks, plain data

call(
    "check.check",
    "made.values",
    path=path("file('run.toml')").plus(*bad("file('run.h5')")),
    progress=boolean(False).without("None"),
    precision=1e-12,
)
call(
    "check.error_bars",
    "made.bars['Q']['depth'].error",
    solve=thing(
        "converging",
        "function",
        """
        lambda refined: None; lambda refined: {'Q': 'a'}; lambda refined: 3; lambda refined: {'Q': None};
        lambda refined: {'Q': 1j}
    """,
    ).without("len", "type({})", "np"),
    sources=fixed(
        "[check.Source('depth', order=1.0)]",
        *same("(check.Source('depth', 1),)"),
        *bad("['depth']; 'depth'; 3; None; [check.Source]; [None]; check.Source('depth', 1.0)"),
    ),
)
call(
    "check.Source",
    "check.error_bars(converging, [made]).bars['Q']['depth'].error",
    name=fixed("'depth'", *same("np.str_('depth')"), *bad("3; None; ['depth']")),
    order=number(1.0),
    ratio=number(2.0).without("float('inf')", "1e400", "10**400").plus(*bad("1.0; 0.5"), *open_("np.inf")),
    random=boolean(False),
)
call(
    "plain.build",
    "repr(made)",
    data=fixed(
        "{'kind': 'feedforward', 'activation': 'tanh'}",
        *same("__import__('types').MappingProxyType({'kind': 'feedforward', 'activation': 'tanh'})"),
        *bad("""
        {'kind': 'feedforward', 'activation': 'thanh'}; {'kind': 'feedforwrd'};
        {'kind': 'feedforward', 'actvation': 'tanh'}; {'kind': 3}; {'kind': None}; {'kind': ['a']};
        {'kind': 'Dataset'}; {'kind': 'reference', 'to': 'nothing'}; {'kind': 'reference'}; {'kind': 'user'};
        {'kind': 'dict'}; {'kind': 'dict', 'items': 3}
    """),
    ),
)
