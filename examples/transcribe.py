"""A transcriber: an example of a pipeline service outside this project.

It uses only public names, runs as a separate process and may be killed at any time: another worker takes over its job
when the lease expires, and unfinished results are never stored.

    python examples/transcribe.py            processes jobs until it is stopped
    python examples/transcribe.py --once     processes at most one job and exits

SIGTERM and Ctrl-C return the current job to the queue. Exit code 0: done, or nothing to do; 1: the job failed;
3: an external dependency, such as the database, is missing.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from textwrap import shorten
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

import av
from pocketsphinx import Decoder, Endpointer

# For a checkout that is not installed; your own service has this package among its dependencies.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from src.database import Database, ProcessingJob
from src.errors import InvalidInput, LeaseLost, SpeechError, Unavailable
from src.maintenance.terminal import printable
from src.services import analyses, recordings, transcripts, work
from src.services.transcripts import Segment, Word

KIND = "transcribe"
MODEL = "pocketsphinx"
LANGUAGE = "en"  # of the model included in the wheel

# Short, so that another worker soon takes over the job of a killed one. A block takes about 8 s, so that a lease allows
# four heartbeats.
LEASE_SECONDS = 90
HEARTBEAT_SECONDS = 15
IDLE_SECONDS = 2.0

RATE_HZ = 16_000  # the sample rate of the model's training data
BYTES_PER_MS = RATE_HZ * 2 // 1000  # samples of 16 bits, one channel
FRAME_MS = 10  # the time unit of the recogniser
PAUSE_MS = 500
# Longer blocks give better results, because the recogniser uses context; shorter blocks show progress sooner.
SHORTEST_BLOCK_MS = 8_000
LONGEST_BLOCK_MS = 15_000

GLAD = frozenset({"better", "calm", "glad", "good", "great", "happy", "hope", "love", "peace", "safe", "thank", "well"})
SAD = frozenset({"afraid", "attack", "bad", "death", "fear", "fire", "hate", "hurt", "kill", "pain", "sorry", "wrong"})


class Block(NamedTuple):
    """A block of audio that is recognised in one step: its start and its samples."""

    start_ms: int
    samples: bytes


class StoppedError(Exception):
    """The process received SIGTERM or SIGINT."""


class Stop:
    """Whether SIGTERM or SIGINT was received. Checked between blocks, so that no step is interrupted."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once


def serve(db: Database, actor: str, stop: Stop, *, once: bool) -> bool:
    """Process jobs until a signal arrives, or at most one with `once`; return False if that job failed."""
    while not stop.asked:
        with db.session(actor=actor) as session:
            job = work.claim(session, KIND, lease_seconds=LEASE_SECONDS)
        if job is not None:
            succeeded = do(db, actor, job, stop)
            if once:
                return succeeded
        elif once:
            say("there is nothing to do")
            return True
        else:
            time.sleep(IDLE_SECONDS)
    return True


def do(db: Database, actor: str, job: ProcessingJob, stop: Stop) -> bool:
    """Process a claimed job, or return it to the queue with a reason; return whether its results are stored.

    Raises Unavailable if the database or the storage cannot be reached; the attempt is not counted then.
    """
    say(f"job {job.id}, attempt {job.attempts}: {job.audio_file.name}")
    try:
        segments = transcribe(db, actor, job, stop)
        store(db, actor, job, segments)
    except LeaseLost:
        say(f"job {job.id}: the lease was lost to another worker; nothing is stored")
        return False
    except Unavailable as error:
        return_unharmed(db, actor, job, str(error))
        raise
    except StoppedError:
        give_back(db, actor, job, "the worker was asked to stop", delay_seconds=0)
        return False
    except InvalidInput as error:
        give_back(db, actor, job, str(error), retry=False)
        return False
    except Exception as error:  # noqa: BLE001 - no error of a single recording may end the service
        give_back(db, actor, job, f"{type(error).__name__}: {error}")
        return False
    say(f"job {job.id} is done: {sum(len(segment.words or ()) for segment in segments)} words")
    return True


def transcribe(db: Database, actor: str, job: ProcessingJob, stop: Stop) -> list[Segment]:
    """Return the transcription of the job's recording. Extends the lease meanwhile; raises LeaseLost if it is lost."""
    audio = job.audio_file
    if audio.language is not None and audio.language.code.partition("-")[0] != LANGUAGE:
        raise InvalidInput(f"language: {audio.language.name}; this transcriber supports only English.")
    # No session is open during recognition: a transaction of minutes holds back vacuum and keeps its locks.
    with db.session(actor=actor) as session:
        file = recordings.open(session, audio)
    keep_alive = make_heartbeat(db, actor, job)
    decoder = Decoder(loglevel="FATAL")
    segments: list[Segment] = []
    with file:
        for block in blocks(samples(file)):
            segments += recognise(decoder, block)
            say(progress(block.start_ms + len(block.samples) // BYTES_PER_MS, audio.duration_ms))
            if stop.asked:
                raise StoppedError
            keep_alive()
    return segments


def store(db: Database, actor: str, job: ProcessingJob, segments: Sequence[Segment]) -> None:
    """Store the transcription and its analysis and complete the job, in one transaction. Raises LeaseLost."""
    model_version = version(MODEL)
    with db.session(actor=actor, reason=f"job {job.id}") as session:
        # First, so that a lost lease raises LeaseLost: without the lease the recording is not visible either.
        work.heartbeat(session, job, lease_seconds=LEASE_SECONDS)
        transcription = transcripts.add(
            session,
            job.audio_file,
            segments,
            language=LANGUAGE,
            confidence=confidence(segments),
            model_name=MODEL,
            model_version=model_version,
        )
        analyses.add(session, job.audio_file, transcription=transcription, model_name="word-list", **analyse(segments))
        work.complete(session, job, {"transcription_id": transcription.id, "segments": len(segments)})


def give_back(
    db: Database, actor: str, job: ProcessingJob, reason: str, *, retry: bool = True, delay_seconds: int = 30
) -> None:
    """Report the job as failed with a reason. The queue decides whether and when it is tried again."""
    try:
        with db.session(actor=actor) as session:
            state = work.fail(session, job, reason, retry=retry, delay_seconds=delay_seconds)
    except LeaseLost:
        state = "lost to another worker"
    say(f"job {job.id} is {state}: {reason}")


def return_unharmed(db: Database, actor: str, job: ProcessingJob, reason: str) -> None:
    """Return the job without counting the attempt. When the server does not answer, its lease expires instead."""
    try:
        with db.session(actor=actor) as session:
            work.give_back(session, job, reason)
    except (LeaseLost, Unavailable) as error:
        say(f"job {job.id} is not given back: {error}")


def make_heartbeat(db: Database, actor: str, job: ProcessingJob) -> Callable[[], None]:
    """Return a function to call often; it extends the lease when that is due.

    Called from the work itself and not from a thread, so that a worker that hangs loses its job.
    """
    due = time.monotonic() + HEARTBEAT_SECONDS

    def keep_alive() -> None:
        nonlocal due
        if time.monotonic() >= due:
            with db.session(actor=actor) as session:
                work.heartbeat(session, job, lease_seconds=LEASE_SECONDS)
            due = time.monotonic() + HEARTBEAT_SECONDS

    return keep_alive


def samples(file: BinaryIO) -> Iterator[bytes]:
    """Decode a recording of any format incrementally to 16-bit mono samples at `RATE_HZ`."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    # Recordings are untrusted: their content must not make the decoder open files or network addresses.
    with av.open(file, mode="r", options={"protocol_whitelist": "pipe"}) as container:
        for packet in container.demux(container.streams.audio[0]):
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                continue  # skip a damaged packet, not the rest of the recording
            for frame in decoded:
                for resampled in resampler.resample(frame):
                    yield samples_of(resampled)
    for resampled in resampler.resample(None):
        yield samples_of(resampled)


def samples_of(frame: av.AudioFrame) -> bytes:
    # A plane may contain padding after the samples.
    return bytes(frame.planes[0])[: frame.samples * 2]


def blocks(audio_bytes: Iterable[bytes]) -> Iterator[Block]:
    """Divide audio into blocks of 8 to 15 s, at pauses if possible, so that words are not split."""
    endpointer = Endpointer(sample_rate=RATE_HZ)
    buffer, block, start_ms = bytearray(), bytearray(), 0
    for piece in audio_bytes:
        buffer += piece
        while len(buffer) >= endpointer.frame_bytes:
            frame = bytes(buffer[: endpointer.frame_bytes])
            del buffer[: endpointer.frame_bytes]
            endpointer.process(frame)
            block += frame
            length_ms = len(block) // BYTES_PER_MS
            if length_ms >= LONGEST_BLOCK_MS or (length_ms >= SHORTEST_BLOCK_MS and not endpointer.in_speech):
                yield Block(start_ms, bytes(block))
                start_ms += length_ms
                block.clear()
    block += buffer
    if block:
        yield Block(start_ms, bytes(block))


def recognise(decoder: Decoder, block: Block) -> list[Segment]:
    """Return the segments of a block, divided at pauses, with the time and the probability of every word."""
    decoder.start_utt()
    decoder.process_raw(block.samples, full_utt=True)
    decoder.end_utt()
    sentences: list[list[Word]] = []
    end_ms = -PAUSE_MS
    for result in decoder.seg() or ():
        if result.word[0] in "<[+":
            continue  # silence and noise: <sil>, [NOISE], ++COUGH++
        start_ms = block.start_ms + result.start_frame * FRAME_MS
        if start_ms - end_ms >= PAUSE_MS or not sentences:
            sentences.append([])
        end_ms = block.start_ms + (result.end_frame + 1) * FRAME_MS
        text = re.sub(r"\(\d+\)$", "", result.word)  # read(2) is the second pronunciation of read
        sentences[-1].append(Word(text, start_ms, end_ms, confidence=min(round(result.prob, 4), 1.0)))
    return [
        Segment(
            text=" ".join(word.text for word in words),
            start_ms=words[0].start_ms,
            end_ms=words[-1].end_ms,
            words=words,
            confidence=confidence(words),
        )
        for words in sentences
    ]


def confidence(parts: Sequence[Word | Segment]) -> float | None:
    known = [part.confidence for part in parts if part.confidence is not None]
    return round(fmean(known), 4) if known else None


def analyse(segments: Sequence[Segment]) -> dict[str, Any]:
    """Return a simple analysis: the longest segment as the summary, and a sentiment from two lists of words."""
    words = [word for segment in segments for word in segment.text.split()]
    glad, sad = sum(word in GLAD for word in words), sum(word in SAD for word in words)
    score = (glad - sad) / (glad + sad) if glad + sad else 0.0
    sentiment = "positive" if score > 1 / 3 else "negative" if score < -1 / 3 else "mixed" if glad else "neutral"
    frequent = Counter(word for word in words if len(word) > 4).most_common(5)
    return {
        "summary": shorten(max((segment.text for segment in segments), key=len, default=""), 200, placeholder=" …"),
        "sentiment": sentiment,
        "sentiment_score": round(score, 3),
        "details": {"words": len(words), "frequent": dict(frequent), "glad": glad, "sad": sad},
    }


def progress(at_ms: int, of_ms: int | None) -> str:
    share = f"{min(at_ms / of_ms, 1):4.0%} of {of_ms / 1000:.0f} s" if of_ms else f"{at_ms / 1000:.0f} s"
    return f"recognised {share}"


def say(text: str) -> None:
    print(printable(f"transcriber: {text}"), file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Transcribe the recordings of queued jobs.")
    parser.add_argument("--once", action="store_true", help="process at most one job and exit")
    parser.add_argument("--actor", default="transcriber", metavar="NAME", help="user to work as (%(default)s)")
    arguments = parser.parse_args()
    stop = Stop()
    try:
        with Database.from_env() as db:
            return 0 if serve(db, arguments.actor, stop, once=arguments.once) else 1
    except SpeechError as error:
        say(str(error))
        return 3 if isinstance(error, Unavailable) else 1


if __name__ == "__main__":
    sys.exit(main())
