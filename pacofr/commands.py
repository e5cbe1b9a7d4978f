"""The commands of `pacofr`: each takes its parsed configuration and returns an exit code."""

from pacofr.analysis.config import ProbeCommand, ShowConfig
from pacofr.analysis.table7_config import EvidenceConfig
from pacofr.data.curation.config import CurateConfig
from pacofr.data.curation.stats import in_words
from pacofr.data.repack_config import RepackConfig
from pacofr.pretraining.command import PretrainCommand
from pacofr.tasks.command import Evaluate, Predict, Sweep, Table, Train
from pacofr.utils.threads import set_threads


def pretrain(command: PretrainCommand) -> int:
    """Pre-train an encoder; 0 when it is done, 143 or 130 when it was stopped."""
    from pacofr.engine.task import RunOptions
    from pacofr.pretraining.data import ShardCrops
    from pacofr.pretraining.presets import ABLATIONS
    from pacofr.pretraining.train import pretrain

    set_threads(command.threads)
    row, config = command.row, command.config
    config = config if row is None else ABLATIONS[row].apply(config)
    side = config.model.encoder.image_size
    crops = ShardCrops(command.shards, side=side, config=config.data, seed=config.seed)
    options = RunOptions(
        out=command.out,
        device=command.device,
        keep=command.keep,
        tensorboard=command.tensorboard,
        profile=command.profile,
    )
    return pretrain(config, crops, options, command.init_from)


def curate(config: CurateConfig) -> None:
    """Cut face crops; prints what was kept and what was not."""
    from pacofr.data.curation.curate import curate

    stats = curate(config)
    print(f"{stats.kept} of {stats.photos} photos kept: {config.out}")
    print(f"rejected: {in_words(stats.rejected)}")
    if stats.left_out:
        print(f"left out: {in_words(stats.left_out, examples=True)}")
    if not stats.complete:
        print("other parts are still to be done; the index follows the last of them")


def repack(config: RepackConfig) -> None:
    """Write larger shards; prints how many."""
    from pacofr.data.repack import repack

    shards, selection = repack(config)
    if config.exclude:
        print(f"{selection.excluded} crops left out that a set to exclude has, too")
    if config.near_duplicates:
        print(f"{selection.repeated} near duplicates left out")
    crops, size = sum(s.crops for s in shards), sum(s.bytes for s in shards)
    print(f"{crops} crops in {len(shards)} shards, {size / 1e9:.2f} GB: {config.out}")


def show(config: ShowConfig) -> None:
    """Draw what some runs have learnt; prints the files written."""
    from pacofr.analysis.visualize import visualize

    set_threads(config.threads)
    for path in visualize(config):
        print(path)


def probe(command: ProbeCommand) -> None:
    """Score encoders one after the other; prints a line for each probe."""
    from pacofr.analysis.probe.command import run_probes

    set_threads(command.threads)
    run_probes(command)


def evidence(config: EvidenceConfig) -> int:
    """Pre-train and probe every row of Table 7, as far as that is not done yet."""
    from pacofr.analysis.table7 import reproduce_table7

    set_threads(config.threads)
    return reproduce_table7(config)


def task(command: Train | Sweep | Evaluate | Predict | Table) -> int:
    """Train, evaluate or use a face parser or a landmark detector, or print result tables."""
    if isinstance(command, Table):
        from pacofr.tasks.report.results import read_result
        from pacofr.tasks.report.tables import tables

        results = [read_result(path) for path in command.results]
        if command.by_labels is None:
            print(tables(results))
            return 0
        from pacofr.tasks.report.label_chart import write_label_efficiency

        print(write_label_efficiency(results, command.by_labels))
        return 0
    if isinstance(command, Train):
        from pacofr.tasks.run import train_task

        set_threads(command.task.threads)
        return train_task(command.task)
    if isinstance(command, Sweep):
        from pacofr.tasks.sweep import sweep

        set_threads(command.task.threads)
        return sweep(command.task)
    set_threads(command.threads)
    if isinstance(command, Evaluate):
        from pacofr.tasks.run import evaluate_task

        evaluate_task(command)
        return 0
    from pacofr.tasks.predict import predict_task

    return predict_task(command)
