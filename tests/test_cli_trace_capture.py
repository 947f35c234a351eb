"""``hetgym trace capture`` and ``hetgym trace train-tiny``."""

import json
import sys

import numpy as np
import pytest
import torch

from hetgym.cli import main
from hetgym.workloads.routing import DECODE, load_trace
from hetgym.workloads.routing.capture import capture_trace

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ("the", "router", "chooses", "experts", "for", "each", "token", "of", "a", "prompt")
PROMPTS = ("the router chooses experts", "experts for each token of a prompt")


def save_tokenizer(folder):
    words = tokenizers.models.WordLevel({word: number for number, word in enumerate(("?", *WORDS))}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)


def save_model(folder, kind="Mixtral"):
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    experts = {"num_local_experts": 8} if kind == "Mixtral" else {}
    config = getattr(transformers, f"{kind}Config")(
        **sizes, **experts, num_attention_heads=2, num_key_value_heads=2, bos_token_id=None, eos_token_id=None
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS) + "\n")
    return path


def refuse(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["trace", *map(str, arguments)])
    assert stopped.value.code == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("hetgym: error: ")
    return errors[-1]


def test_a_saved_model_is_recorded(tmp_path, prompts, capsys):
    model = save_model(tmp_path / "little")
    output = tmp_path / "trace.parquet"
    arguments = ["--model", str(tmp_path / "little"), "--prompts", str(prompts), "--output", str(output)]
    main(["trace", "capture", *arguments, "--max-new-tokens", "5", "--distances", "1"])
    assert f"{output}: 19 tokens, 2 layers" in capsys.readouterr().out
    trace = load_trace(output)
    tokens = [[1 + WORDS.index(word) for word in prompt.split()] for prompt in PROMPTS]
    expected = capture_trace(model, tokens, 5, distances=1)
    assert trace.model == "little"
    for field in ("request", "phase", "step", "layer", "experts", "predicted"):
        np.testing.assert_array_equal(getattr(trace, field), getattr(expected, field))
    assert (trace.phase == DECODE).sum() == 2 * 2 * 4


def test_what_cannot_be_recorded_is_one_line(tmp_path, prompts, capsys, monkeypatch):
    dense, output = tmp_path / "dense", tmp_path / "trace.npz"
    save_model(dense, "Llama")

    def capture(model, prompts=prompts, output=output, *more):
        return refuse(
            capsys, "capture", "--model", model, "--prompts", prompts, "--output", output, "--max-new-tokens", 2, *more
        )

    assert "LlamaForCausalLM: no layer has experts" in capture(dense)
    assert f"{tmp_path}: cannot load this language model: " in capture(tmp_path)
    assert "none.txt: cannot read this list of prompts" in capture(dense, tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    assert "empty.txt: has no prompt" in capture(dense, tmp_path / "empty.txt")
    assert "must end in .parquet or .npz" in capture(dense, prompts, tmp_path / "trace.csv")
    assert "cannot load this language model" in capture(dense, prompts, output, "--device", "abacus")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert 'transformers: is not installed: pip install "hetgym[capture]"' in capture(dense)
    assert not output.exists()


def test_a_tiny_model_is_trained_and_recorded(tmp_path, capsys):
    output = tmp_path / "tiny.parquet"
    main(["trace", "train-tiny", "--output", str(output), "--steps", "2", "--requests", "5"])
    assert "by the frequencies of bytes alone" in capsys.readouterr().out
    trace, card = load_trace(output), json.loads(output.with_suffix(".json").read_text())
    assert np.unique(trace.request).tolist() == [0, 1, 2, 3, 4]
    assert card["bits_per_byte"]["after"] < card["bits_per_byte"]["before"]
    assert "steps: must be positive" in refuse(capsys, "train-tiny", "--output", output, "--steps", 0)
    assert "seed: must not be negative" in refuse(capsys, "train-tiny", "--output", output, "--seed=-1")
