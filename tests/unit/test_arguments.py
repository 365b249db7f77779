import pytest
from gameai_operator.tier.arguments import _INSTEAD, INVALID, REFUSED, UNKNOWN, judge
from gameai_operator.tier.vllm_flags import FLAGS, VLLM_VERSION

IMAGE = f"vllm/vllm-openai:v{VLLM_VERSION}"


def fault(*arguments: str, image: str = IMAGE) -> tuple[str, str] | None:
    return next(iter(judge(arguments, image).faults), None)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--max-num-seqs=64"],
        ["--max-num-seqs", "64"],
        ["--max_num_seqs=64"],
        ["--enable-prefix-caching"],
        ["--no-enable-prefix-caching"],
        ["--compilation-config.mode=3"],
        ["--compilation_config.mode", "3"],
        ["-O3"],
        ["-O=2"],
        ["--max-num-batched-tokens", "8k"],
        ["-asc", "2"],
        ["--max-lora-rank=16"],
    ],
    ids=str,
)
def test_what_vllm_takes_is_taken(arguments: list[str]) -> None:
    assert fault(*arguments) is None


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("--served-model-name=x", "always the name of the tier"),
        ("--model=x", "use model.source"),
        ("--max_model_len=8", "use model.maxContextTokens"),
        ("-tp=2", "use hardware.gpus"),
        ("--tensor-parallel-s=2", "use hardware.gpus"),
        ("--config=/etc/x", "set its entries as args"),
        ("--api-key=s3cret", "the gateway authenticates callers"),
        ("--api_key=s3cret", "the gateway authenticates callers"),
        ("--middleware=evil", "load code"),
        ("--trust-remote-code", "code from the model repository"),
        ("--trust-rem", "code from the model repository"),
        ("--no-trust-remote-code", "code from the model repository"),
        ("--ssl-keyfile=x", "the gateway terminates TLS"),
        ("--ssl_certf=x", "the gateway terminates TLS"),
        ("--ssl-ca-certs=x", "the gateway terminates TLS"),
        ("--enable-ssl-refresh", "the gateway terminates TLS"),
        ("--uds=/x", "a Unix socket cannot be reached"),
        ("--hf-token=s3cret", "use model.source.huggingFace.tokenSecretRef"),
        ("--headless", "no health endpoint and no metrics"),
        ("--help", "print its help"),
        ("-qawq", "use model.quantization"),
    ],
)
def test_what_has_a_field_or_opens_a_door_is_refused_with_the_way_out(
    argument: str, remedy: str
) -> None:
    found = fault("--max-num-seqs=64", argument)
    assert found is not None
    reason, message = found
    assert reason == REFUSED
    assert remedy in message
    assert "s3cret" not in message


def test_a_refused_flag_does_not_hide_behind_a_mistake() -> None:
    assert fault("--max-num-seqs", "abc", "--api-key", "x", image="x:v9.9.9") is not None
    found = fault("--bogus", "--max-num-seqs", "abc", "--api-key", "x")
    assert found is not None
    assert found[0] == REFUSED


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--max-num-sqs=3", "vLLM 0.32.0 has no flag --max-num-sqs; did you mean --max-num-seqs?"),
        ("--qqqqqqqqqqqq=s3cret", "vLLM 0.32.0 has no flag --qqqqqqqqqqqq"),
        ("s3cret", "a value without a flag"),
    ],
)
def test_an_unknown_flag_is_reported_with_the_nearest(argument: str, words: str) -> None:
    found = fault(argument)
    assert found is not None
    assert found[0] == UNKNOWN
    assert found[1].endswith(words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-num-seqs=s3cret"], "argument --max-num-seqs: invalid int value"),
        (["--dtype=s3cret"], "argument --dtype: invalid choice (choose from"),
        (["--max-num=s3cret"], "ambiguous option: --max-num could match"),
        (["--max-num-seqs"], "argument --max-num-seqs: expected one argument"),
        (
            ["--enforce-eager=s3cret"],
            "argument --enforce-eager/--no-enforce-eager: ignored explicit",
        ),
    ],
    ids=str,
)
def test_a_value_that_does_not_parse_is_reported_without_the_value(
    arguments: list[str], words: str
) -> None:
    found = fault(*arguments)
    assert found is not None
    assert found[0] == INVALID
    assert words in found[1]
    assert "s3cret" not in found[1]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.31.1", "0.31.1"),
        ("registry:5000/vllm:nightly@sha256:ab", "nightly"),
        ("registry:5000/vllm", "untagged"),
        ("vllm@sha256:ab", "untagged"),
    ],
)
def test_flags_of_another_version_are_not_judged_but_refusals_stay(
    image: str, version: str
) -> None:
    verdict = judge(("--flag-of-tomorrow=1",), image)
    assert (verdict.checked, verdict.version, verdict.faults) == (False, version, ())
    assert fault("--trust", image=image) is not None


@pytest.mark.parametrize("image", [IMAGE, "vllm/vllm-openai:nightly"])
@pytest.mark.parametrize(
    ("arguments", "reason", "words"),
    [
        (["--max-num-seqs 64"], INVALID, "write --max-num-seqs=VALUE, or two items"),
        (["--max-num-seqs = 64"], INVALID, "write --max-num-seqs=VALUE, or two items"),
        (["--enable-prefix-caching true"], INVALID, "--enable-prefix-caching takes no value"),
        (["--port 9000"], REFUSED, "--port is not allowed in args"),
        (["-tp 2"], REFUSED, "use hardware.gpus"),
        (["--model x/y"], REFUSED, "use model.source"),
    ],
)
def test_arguments_as_a_shell_takes_them_are_corrected_in_one_sentence(
    arguments: list[str], reason: str, words: str, image: str
) -> None:
    (found,) = judge(tuple(arguments), image).faults
    assert found[0] == reason
    assert words in found[1]
    assert "did you mean" not in found[1]
    assert "s3cret" not in found[1]


def test_an_unknown_flag_with_its_value_in_one_item_is_one_mistake() -> None:
    (found,) = judge(("--flaggg s3cret",), IMAGE).faults
    assert found == (UNKNOWN, f"spec.engine.vllm.args: vLLM {VLLM_VERSION} has no flag --flaggg")
    (other,) = judge(("--flaggg s3cret",), "vllm:nightly").faults
    assert "write --flaggg=VALUE, or two items" in other[1]


def test_a_value_after_a_flag_that_takes_none_is_named_by_the_flag() -> None:
    found = fault("--enable-prefix-caching", "true")
    assert found is not None
    assert "--enable-prefix-caching takes no value: remove the next item" in found[1]


def test_every_refused_flag_is_named_at_once() -> None:
    found = judge(("--port=1", "--model=x", "--max-num-seqs 3", "--nope"), IMAGE).faults
    assert [reason for reason, _ in found] == [REFUSED, REFUSED, INVALID, UNKNOWN]


def test_a_suffix_of_the_tag_is_no_other_version() -> None:
    assert judge((), f"vllm/vllm-openai:v{VLLM_VERSION}-cu129").checked


def test_every_refused_flag_is_one_of_vllms() -> None:
    assert set(_INSTEAD) <= {row[0][0] for row in FLAGS}


@pytest.mark.parametrize("arguments", [("--max-num-se", "4"), ("--max_num_se=4",)])
def test_a_flag_is_written_in_full(arguments: tuple[str, ...]) -> None:
    words = "spec.engine.vllm.args: --max-num-se is an abbreviation: write --max-num-seqs"
    assert judge(arguments, IMAGE).faults == ((INVALID, words),)
    assert fault(*arguments, image="x:v9.9.9") is None
