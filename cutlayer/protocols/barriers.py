"""At the end of which rounds the parties measure, and write their checkpoints."""

from cutlayer.protocols.plan import TrainingPlan


def checkpoint_due(plan: TrainingPlan, round: int) -> bool:
    """Whether all parties write a checkpoint at the end of a round."""
    return plan.checkpoint_rounds > 0 and (round % plan.checkpoint_rounds == 0 or round == plan.rounds)


def evaluation_due(plan: TrainingPlan, round: int) -> bool:
    """Whether the accuracy is measured at the end of a round."""
    return round % plan.evaluate_rounds == 0 or round == plan.rounds
