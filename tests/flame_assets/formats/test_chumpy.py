"""Pickles that real chumpy 0.70 and Python 2 wrote are read without either.

The fixture was made with Python 3.11, numpy 1.23.5, scipy 1.10.1 and chumpy 0.70, with
`inspect.getargspec` restored from `getfullargspec` before the import:

    v = ch.array(np.arange(6.0).reshape(2, 3) / 8)
    wide = ch.array(np.arange(30.0).reshape(2, 3, 5))
    reg = scipy.sparse.csc_matrix(np.eye(2))
    model = {
        "v_template": v,
        "shapedirs": wide[:, :, :2],
        "posedirs": wide[:, :, 1::2][1:],
        "J": ch.vstack([MatVecMult(reg, v[:, i]) for i in range(3)]).T,
        "J_regressor": reg,
        "f": np.array([[0, 1, 2]], dtype=np.uint32),
        "bs_type": "lrotmin",
    }
    base64.b85encode(zlib.compress(pickle.dumps(model, 2), 9))
"""

import base64
import pickle
import sys
import types
import zlib

import numpy as np
import pytest

from flame_assets.formats.chumpy import as_plain_array
from flame_assets.inert.files import ReadError
from flame_assets.inert.pickles import parse_pickle

REAL_CHUMPY = (
    b"c-n<l378y36`q~VZZ^Fec5{(~fDuR>AS~G>7bK9xs7S`FS}2Z6?9B93QbTrn=C7^^yFf!i?A;7T1tE%e)TkIQ#2W?V"
    b"zVG|KZ%{4|ZmO!^ut&y^`M&ADx~uxV_rLd7z21}zkw|5nL?W@#RlHd4%_@!t&l8nmxxdpB&Pw4RdBA2gh8UB|wCaU!"
    b"z93b<yD=*RG<mL@s}y=w!FOFJ;L1Vs8jOw5!Z0o~#;h(V38yE1vzXn$-8}aLj@D|X?Y&1qSsUYMt7bZ^177BSK5$FE"
    b"83q_1VvkINp6Nro=f{ziB=0O%wBxLl*?z~B+$;Hkk`+(K&=Ie4{Cqr%3F$<HiJt3~^4tp??wf&wN!Dr(lQYd4HTQzw"
    b"g((BrlVR#0rZG%Ur5n=8bmIVKkjcF2FY7n=$|Ut0>lR~Xb?YGZX4of{ZnV~x;sZTBJ*(c)KYK|h6lUeBVp3*7V)XB_"
    b"P0MI-Ms09TZLp&@*trZJ6gsGV8TM1yKbIM6aulenssxywY1DT<KLK+pxy(2{4n(%hb%_Fes8&YFOES-8!C&tj!+W{O"
    b"P)e8dfDi|!M3c}JJ1CWD*YB1kU&p27dDmLOTwB6IzAwPRmRuH{Ji;Li^F*DRcGanAcU9=}9V+IUG^Ue-m@f_%9l{o5"
    b"fzVlA$gs#{xh=wC5vR4V7>Aj(9?q~tr&a8p(4{t^Ylo$>fv}0Nnb09@C2S|`Ae>A%g>X9I3_=`Xa(^VlGKJ+i(J9Pk"
    b"SP|mGl)04=KEm)(oet4j6>XO7$3%OL;!%d;#~F?$A*GuJu}bV?qJL?3Ih;o|Pb`n2g|LHgGT}7BnS`?l_a)q)a1LRL"
    b"@Ib=3gq?)*2)hWo2@fTlPq=_^A>ksz#e|0u9!|J~a4F#t%aJze`~<^lg`S+4EwpU4a9fP{N<pmKPYR>XPlfn2<(Q?!"
    b"T&)@-y<-?YV{+Y96|u5DtCiIdE9=-HWqr=1J;U&MllJBaUl2=7%I6Ie##q7@!g2pcF!-X0_&A0&3STk;Fu}PY)>3fU"
    b"2ss9CL{Rx5x$~i*)|sHzGYFD<Ar5NoF!eT$Qg6$sV8)M9@5E8+ojOXrGixM{HzYPN^ePk$i52gq-nd=`zs^~qWY!N%"
    b"RUDKw=W+-TXBi=2Q1#A$N}V%cqfN>QqO*>Zl_lTPJ;&F72YuR2e~1&w%}EhXW(e!KIi-%9Q>~j#_AJjUE{g#+ufb_4"
    b"d!`iUVM{#d!k6PgHzF>!)QM?@>gCx$_2eB4=!gbGY^8{*5l(0LO1+4-)rsh<HlnYI_F)ZmbygkAz16yPIrzG^enyBh"
    b"$@(`UoW*c<J?q=+SpTNA{w>=9HgXT=SZRJc#COQvcO!g{;rk<``2!=(2tOQ><qjjuA2Iyc9#Ii~63en<*uhkjC3YGa"
    b"{gmNn3O_e8YK&!MLnx{~oa+T%LGz3w>~!_5qyIW=B@2BHexU>072=mETO{f-ztVdpIe=f=Q=pjbE9)XC{3hLPyH7r="
    b"viNN+*z-)VzhgL`g8hAbmQLLL4Alet!G!xqhCeC%IqsVUKVR^8fWOoX{?!<~fZ=as@b9%AG#?k59&{1I#r1p8KWq<b"
    b"8P<PriSc(S!(|GW=PX6-udF|SuBf@Y(zv^d;cDZqF~T+CVq>Lkm=)t4*BVRLF<h^3gWjc-X4Bj>0WIts(@A<pn!ZUG"
    b"sooso7ApR&5pH9+-4uUYRm4iXLpLU)xjRGLMa%Ava1X=1X4&?th$VHOh^2IYhzDrdgApELczA@A9*L#&=#Z2iGwdE`"
    b"c!HAo<dBqVC)}8tl%6sSpJsSQ;n`tQ66cCtG#bUR8_!ve&xd${qWWiqe=)o`g5yiX@#PS&(6Uz}{F~uFBRKw-IQ}oh"
    b"Yqae32yZaFIfCO`F~_%uIKHDfN<)Xq27Qg0%A_6+kxh>J7?F);ddh$tW8Z7iS0$VE_5FyOY-RfjfgGzBrxWI>{aANP"
    b"73ta|PPXWoHFBH@MGT6Y#q&It3%$z&>FBv0`)!z)Zf~iyp;DHu`dKL3^i_K?hs`Se1-)MKASg*W-bB00c7}Cw4|5Z9"
    b"m+fY(>33Kf6NtVR@_?LZrsAzrnJ*{lJH314WV>*RU07!i$vsUD>TLiyl`=NXT9|G#Hp8s8+c+1v<~v;OrJvXby|Sc="
    b"1z*lIj5^;1@$ZIl"
)


def test_a_model_of_real_chumpy_objects():
    model = parse_pickle(zlib.decompress(base64.b85decode(REAL_CHUMPY)), keep="chumpy")
    wide = np.arange(30.0).reshape(2, 3, 5)
    want = {
        "v_template": np.arange(6.0).reshape(2, 3) / 8,
        "shapedirs": wide[:, :, :2],
        "posedirs": wide[:, :, 1::2][1:],  # a selection of a selection
        "J_regressor": np.eye(2),
        "f": np.array([[0, 1, 2]], dtype=np.uint32),
    }
    for key, array in want.items():
        np.testing.assert_array_equal(as_plain_array(model[key]), array, err_msg=key)
    assert model["bs_type"] == "lrotmin"
    with pytest.raises(ReadError, match=r"chumpy\.reordering\.transpose"):
        as_plain_array(model["J"])  # an expression, not numbers; no converter needs it
    assert "chumpy" not in sys.modules


def fake_chumpy(monkeypatch):
    """Classes that pickle under the names of chumpy 0.70's Ch and Select, without chumpy."""

    def make(module, name):
        def set_state(self, **state):
            self.__dict__ |= state

        cls = type(name, (), {"__module__": module, "__init__": set_state})
        holder = types.ModuleType(module)
        setattr(holder, name, cls)
        monkeypatch.setitem(sys.modules, module, holder)
        return cls

    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return make("chumpy.ch", "Ch"), make("chumpy.reordering", "Select")


@pytest.mark.parametrize("protocol", range(6))
def test_a_selection_is_followed(monkeypatch, protocol):
    Ch, Select = fake_chumpy(monkeypatch)
    numbers = np.arange(24.0).reshape(2, 3, 4)
    kept = np.arange(24).reshape(2, 3, 4)[:, :, :2].ravel()
    value = Select(a=Ch(x=numbers), idxs=kept, preferred_shape=(2, 3, 2))
    got = as_plain_array(parse_pickle(pickle.dumps(value, protocol), keep="chumpy"))
    np.testing.assert_array_equal(got, numbers[:, :, :2])


def selection_of_selections(Ch, Select, levels):
    value = Ch(x=np.arange(3))
    for _ in range(levels):
        value = Select(a=value, idxs=np.arange(3))
    return value


def test_malformed_objects_are_refused(monkeypatch):
    Ch, Select = fake_chumpy(monkeypatch)
    ids = np.arange(3)
    for value in (
        Ch(),
        Ch(x="text"),
        Select(),
        Select(a=Ch(x=ids)),
        Select(a=Ch(x=ids), idxs=np.array([3])),
        Select(a=Ch(x=ids), idxs=np.array([0.5])),
        Select(a=Ch(x=ids), idxs=ids, preferred_shape=(2, 2)),
        Select(a=Ch(x=ids), idxs=ids, preferred_shape="x"),
        selection_of_selections(Ch, Select, 9),
    ):
        with pytest.raises(ReadError, match="holds a"):
            as_plain_array(parse_pickle(pickle.dumps(value), keep="chumpy"))
    good = selection_of_selections(Ch, Select, 8)
    assert as_plain_array(parse_pickle(pickle.dumps(good), keep="chumpy")).tolist() == [0, 1, 2]
