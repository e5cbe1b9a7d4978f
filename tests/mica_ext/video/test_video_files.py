"""Videos in and out: real times, rotation, sizes; and one line for everything that is none."""

import contextlib
import shutil
import struct
import sys
import wave

import av
import numpy as np
import pytest
from helpers.mutations import damaged_bytes

from mica_ext.errors import UserError
from mica_ext.video_files import reader as reader_module
from mica_ext.video_files.reader import VideoReader, is_video
from mica_ext.video_files.writer import VideoWriter

TIMES = [0.0, 0.04, 0.08, 0.5, 0.54, 2.0]  # a variable frame rate
CORNERS = np.array([[200, 40], [90, 140]], np.uint8)  # grey level of each quarter


def picture(width=64, height=48):
    return np.kron(CORNERS, np.ones((height // 2, width // 2), np.uint8))[..., None].repeat(3, 2)


def corners(image):
    height, width = image.shape[:2]
    rows, columns = [height // 4, 3 * height // 4], [width // 4, 3 * width // 4]
    return image[np.ix_(rows, columns)][..., 0].astype(int)


def write(path, times=TIMES, image=None, **options):
    with VideoWriter(path, 25.0, **options) as video:
        for moment in times:
            video.add(picture() if image is None else image, moment)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_frames_keep_their_times_and_pictures(tmp_path, suffix):
    reader = VideoReader(write(tmp_path / f"a{suffix}"))
    for _ in range(2):  # a reader can be read again
        frames = list(reader)
        np.testing.assert_allclose([frame.time_s for frame in frames], TIMES, atol=1e-3)
        assert np.abs(corners(frames[3].image) - CORNERS).max() <= 6
    assert not reader.damaged
    assert not reader.cut_short


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_turned_as_their_file_says(tmp_path, rotation):
    reader = VideoReader(write(tmp_path / "a.mp4", rotation=rotation))
    image = next(iter(reader)).image
    assert np.abs(corners(image) - np.rot90(CORNERS, rotation // 90)).max() <= 6
    assert reader.info.size == image.shape[1::-1] == ((48, 64) if rotation % 180 else (64, 48))


def test_large_frames_are_reduced_and_odd_ones_written(tmp_path, monkeypatch):
    write(tmp_path / "a.mp4", TIMES[:2], picture(96, 64)[:63, :95])
    reader = VideoReader(tmp_path / "a.mp4")
    assert reader.info.size == (96, 64)
    monkeypatch.setattr(reader_module, "MAX_SIDE", 48)
    reader = VideoReader(tmp_path / "a.mp4")
    assert (reader.info.size, reader.info.frame_size) == ((96, 64), (48, 32))
    assert next(iter(reader)).image.shape == (32, 48, 3)


def test_a_file_that_is_cut_short_gives_what_it_holds(tmp_path):
    random = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.webm", 25.0) as video:
        for k in range(40):
            video.add(random.integers(0, 255, (64, 96, 3), np.uint8), k / 25)
    data = (tmp_path / "whole.webm").read_bytes()
    (tmp_path / "cut.webm").write_bytes(data[: len(data) // 2])
    reader = VideoReader(tmp_path / "cut.webm")
    assert 0 < len(list(reader)) < 40
    assert reader.cut_short


def test_a_video_is_told_by_its_content_then_by_its_name(tmp_path):
    video = write(tmp_path / "a.mp4", TIMES[:2])
    assert is_video(video)
    assert is_video(shutil.copy(video, tmp_path / "a.jpg"))
    assert is_video(tmp_path / "missing.mov")
    assert not is_video(tmp_path / "missing.jpg")
    (tmp_path / "b.mp4").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    assert not is_video(tmp_path / "b.mp4")


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))


def sound_in_mp4(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


STRANGERS = {
    "holds audio alone": sound_in_mp4,
    "expected a video .*got none": sound,
    "cut short": lambda path: path.write_bytes(write(path).read_bytes()[:300]),
    "none that can be": lambda path: path.write_bytes(b""),
    "got none": lambda path: path.write_bytes(b"#EXTM3U\n#EXTINF:1,\nother.mp4\n"),
    "a folder": lambda path: path.mkdir(),
    "No such file": lambda path: None,
}


@pytest.mark.parametrize("said", STRANGERS)
def test_what_is_no_video_is_one_line(tmp_path, said):
    write(tmp_path / "other.mp4", TIMES[:2])  # which a playlist must not reach
    STRANGERS[said](tmp_path / "a.mp4")
    with pytest.raises(UserError, match=rf"a\.mp4.*{said}") as error:
        VideoReader(tmp_path / "a.mp4")
    assert "\n" not in str(error.value)


def test_pictures_beyond_all_bounds_are_refused_before_they_are_decoded(tmp_path):
    data = write(tmp_path / "a.mp4", TIMES[:2]).read_bytes()
    box = data.index(b"mp4v") if b"mp4v" in data else data.index(b"avc1", data.index(b"stsd"))
    changed = data[: box + 28] + struct.pack(">HH", 65000, 65000) + data[box + 32 :]
    (tmp_path / "a.mp4").write_bytes(changed)
    with contextlib.suppress(UserError):  # a decoder may believe its own header instead
        assert max(VideoReader(tmp_path / "a.mp4").info.size) <= 8192


def test_a_coding_without_decoder_is_one_line(tmp_path):
    data = write(tmp_path / "a.mp4", TIMES[:2]).read_bytes()
    at = data.index(b"stsd") + 16  # the sample entry's type
    (tmp_path / "a.mp4").write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    with pytest.raises(UserError, match="convert it to H.264"):
        VideoReader(tmp_path / "a.mp4")


def test_damaged_videos_are_read_or_refused(tmp_path):
    data = write(tmp_path / "a.mp4", TIMES[:3]).read_bytes()
    for variant in damaged_bytes(data, seed=0, count=60):
        (tmp_path / "b.mp4").write_bytes(variant)
        with contextlib.suppress(UserError):
            reader = VideoReader(tmp_path / "b.mp4")
            times = [frame.time_s for frame in reader]
            assert times == sorted(times)


def test_without_pyav_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    video = write(tmp_path / "a.mp4", TIMES[:2])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="pip install"):
        VideoReader(video)


def test_a_video_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "none" / "a.mp4", TIMES[:2])
