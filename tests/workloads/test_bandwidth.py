from pathlib import Path

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.workloads.bandwidth import read_bandwidth


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return path

    return write


def test_rows_are_blocks_without_times(written) -> None:
    path = written("bandwidth,other\n1.5,9\n0,9\n2,9\n")
    rates = read_bandwidth(path, scale=1e6)
    assert rates.dtype == np.float64
    assert rates.tolist() == [1.5e6, 0.0, 2e6]
    assert read_bandwidth(str(path), "other").tolist() == [9.0, 9.0, 9.0]


def test_rows_hold_until_the_next_and_blocks_get_their_mean(written) -> None:
    # From 10 s: 4 for 1 s, 8 for 2 s, 0 for 3 s, 6 for as long as the row above: 3 s.
    path = written("t,rate\n10,4\n11,8\n13,0\n16,6\n")
    of_one = read_bandwidth(path, "rate", time_column="t", block=1.0)
    assert of_one.tolist() == pytest.approx([4, 8, 8, 0, 0, 0, 6, 6, 6])
    # (4 + 8) / 2, (8 + 0) / 2, 0, 6; half a block is left over.
    of_two = read_bandwidth(path, "rate", time_column="t", block=2.0)
    assert of_two.tolist() == pytest.approx([6, 4, 0, 6])
    # Blocks shorter than rows repeat them.
    assert read_bandwidth(path, "rate", time_column="t", block=0.5).tolist() == pytest.approx(np.repeat(of_one, 2))


def test_as_many_bits_pass_in_blocks_as_in_rows(written) -> None:
    rng = np.random.default_rng(0)
    times, rates = np.cumsum(rng.integers(1, 5, 100)), rng.integers(0, 50, 100)
    rows = "".join(f"{time},{rate}\n" for time, rate in zip(times, rates, strict=True))
    blocks = read_bandwidth(written("t,bandwidth\n" + rows), time_column="t", block=0.25)
    held = np.diff(times, append=2 * times[-1] - times[-2])
    assert blocks.size == held.sum() / 0.25
    assert blocks.sum() * 0.25 == pytest.approx(float((rates * held).sum()))
    assert blocks.min() == 0.0


def test_rounding_loses_no_block(written) -> None:
    # Ten rows of 0.1 s are 0.9999999999999999 s or so.
    path = written("t,bandwidth\n" + "".join(f"{0.1 * row},{row}\n" for row in range(10)))
    assert read_bandwidth(path, time_column="t", block=0.1).tolist() == pytest.approx(list(range(10)), abs=1e-6)


def test_single_row_is_one_block(written) -> None:
    assert read_bandwidth(written("t,bandwidth\n3,7\n"), time_column="t", block=2.0).tolist() == [7.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read this trace of bandwidth: No columns"),
        ("bandwidth\n", "bandwidth: there must be at least one row"),
        ("rate,t\n1,2\n", "there is no column 'bandwidth'; there are rate, t$"),
        ("bandwidth\n1\n-2\n", r"bandwidth: row 1 must be a finite bandwidth, not negative \(given: -2\)"),
        ("t,bandwidth\n0,1\n1,\n", r"bandwidth: row 1 must be a finite bandwidth, not negative \(given: nan\)"),
        ("bandwidth\n1\n2\ninf\n", r"bandwidth: row 2 must be a finite bandwidth, not negative \(given: inf\)"),
        ("bandwidth\nfast\n2\n", r"bandwidth: row 0 must be a finite bandwidth, not negative \(given: fast\)"),
        ("bandwidth\n0\n0.0\n", "bandwidth: some bandwidth must be greater than 0"),
        ('bandwidth\n"1\n', "cannot read this trace of bandwidth: .*EOF inside string"),
    ],
)
def test_wrong_trace_is_refused_in_one_line(written, text: str, message: str) -> None:
    path = written(text)
    with pytest.raises(HetgymError, match=message) as error:
        read_bandwidth(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("times", "block", "message"),
    [
        ([0, 1, 1], 1.0, r"t: row 2 must be a finite time, later than the one above \(given: 1\)"),
        ([0, 2, 1], 1.0, r"t: row 2 must be a finite time, later than the one above \(given: 1\)"),
        ([0, "", 1], 1.0, r"t: row 1 must be a finite time, later than the one above \(given: nan\)"),
        (["-inf", 0, 1], 1.0, r"t: row 0 must be a finite time"),
        (["noon", 0, 1], 1.0, r"t: row 0 must be a finite time, later than the one above \(given: noon\)"),
        ([0, 1, 2], 4.0, r"3 s in blocks of 4 s must make 1 to 1e\+08 blocks"),
        ([0, 1, 2], 1e-9, r"3 s in blocks of 1e-09 s must make 1 to 1e\+08 blocks"),
    ],
)
def test_wrong_times_are_refused(written, times: list[object], block: float, message: str) -> None:
    path = written("t,bandwidth\n" + "".join(f"{time},5\n" for time in times))
    with pytest.raises(HetgymError, match=message):
        read_bandwidth(path, time_column="t", block=block)


def test_missing_files_and_columns_of_times_are_refused(written, tmp_path: Path) -> None:
    with pytest.raises(HetgymError, match=r"none\.csv: cannot read this trace of bandwidth: .*No such file"):
        read_bandwidth(tmp_path / "none.csv")
    with pytest.raises(HetgymError, match="cannot read this trace of bandwidth"):
        read_bandwidth(tmp_path)
    with pytest.raises(HetgymError, match=r"there is no column 't'; there are bandwidth$"):
        read_bandwidth(written("bandwidth\n1\n"), time_column="t")


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["scale", "block"])
def test_scale_and_block_must_be_positive(written, name: str, wrong: float) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be finite and greater than 0 \(given: {wrong:g}\)"):
        read_bandwidth(written("bandwidth\n1\n"), **{name: wrong})
