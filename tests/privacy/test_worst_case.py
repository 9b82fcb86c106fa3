from cutlayer.privacy.worst_case import worst, worst_case
from cutlayer.records.run import AttackRecord, Estimate


def gain(value):
    return Estimate(value, 10, value - 0.1, value + 0.1)


def attack(label, value, deployment="zmq-onnx"):
    return AttackRecord(
        attack="ridge", label=label, access="BLACK_BOX", deployment=deployment, n=10, n_releases=1, fit_s=0.0,
        invert_s=0.0, metrics={"mse": gain(0.1)}, leakage_gain=gain(value), published=None,
    )  # fmt: skip


def test_the_greatest_gain_is_the_worst_and_of_equal_ones_the_first():
    assert worst({"ridge": gain(0.4), "decoder": gain(0.7), "nearest": gain(0.7)}) == "decoder"
    assert worst({"mean-image": gain(-0.2), "nearest": gain(-0.5)}) == "mean-image"


def test_the_worst_case_is_over_all_attacks_and_deployments():
    chosen = worst_case([attack("a", 0.3), attack("b", 0.6, "grpc-onnx"), attack("b", 0.5)])
    assert (chosen.label, chosen.deployment, chosen.leakage_gain.value) == ("b", "grpc-onnx", 0.6)
    assert chosen.metrics["mse"].value == 0.1
