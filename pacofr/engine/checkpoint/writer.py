"""Writing the checkpoints of a run, by a thread beside the training where the task allows it."""

import threading
from pathlib import Path

from pacofr.engine.checkpoint.snapshot import Snapshot
from pacofr.engine.checkpoint.state import Json
from pacofr.engine.checkpoint.writing import CheckpointContent, Export, save_checkpoint


class CheckpointWriter:
    """Saves checkpoints of one run as `save_checkpoint` does; in the background `save` returns when
    the state is copied, and one checkpoint is written at a time.

    Writing and flushing release the interpreter's lock, so that the training goes on. A process
    that is killed meanwhile leaves the checkpoint before as it was. `torch.distributed.checkpoint`
    can save so, too, but into files of its own that are pickled in part.

    Args:
        run: the run's folder.
        export: writes the publishable unit; in the background it must read nothing that the
            training changes but the model that it is given.
        run_config: the run's configuration.
        keep: number of checkpoints to leave.
        background: whether to write in a thread.
    """

    def __init__(
        self, run: Path, *, export: Export, run_config: Json, keep: int, background: bool
    ) -> None:
        self._run, self._export, self._run_config, self._keep = run, export, run_config, keep
        self._background = background
        self._snapshot = Snapshot()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, content: CheckpointContent) -> None:
        """Write a checkpoint; in the background wait for the one before, copy the state and begin.

        Raises:
            UserError: it, or the one before, could not be written.
        """
        self.wait()
        if not self._background:
            self._save(content)
            return
        copied = self._snapshot.take(content)
        self._thread = threading.Thread(target=self._write, args=(copied,), name="checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise what a checkpoint that is done failed with.

        Raises:
            UserError: it could not be written.
        """
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            UserError: it could not be written.
        """
        self.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def join(self) -> None:
        """Wait for the writing to end, however it does."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, content: CheckpointContent) -> None:
        try:
            self._snapshot.wait()
            self._save(content)
        except BaseException as error:  # raised by the training's thread
            self._failure = error

    def _save(self, content: CheckpointContent) -> None:
        save_checkpoint(
            self._run,
            content,
            export=self._export,
            run_config=self._run_config,
            keep=self._keep,
        )
