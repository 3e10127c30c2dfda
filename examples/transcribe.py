"""A transcriber: a pipeline service as somebody outside this project would write it.

It knows the layer by its public names only, runs as a process of its own, and may be killed at any moment: what it had
claimed goes to the next one as soon as its lease runs out, and what it had not finished was never stored.

    python examples/transcribe.py            does jobs until it is stopped
    python examples/transcribe.py --once     does one job, if there is one, and ends

SIGTERM and Ctrl-C give the job in hand back to the queue. Exit code 0: done, or nothing to do; 1: the job failed;
3: something outside, such as the database, is missing.
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

# For a checkout that nobody installed; a service of your own has the layer among its dependencies.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from src.database import Database, ProcessingJob
from src.errors import InvalidInput, LeaseLost, SpeechError, Unavailable
from src.services import analyses, recordings, transcripts, work
from src.services.transcripts import Segment, Word

KIND = "transcribe"
MODEL = "pocketsphinx"
LANGUAGE = "en"  # of the model that comes with the recogniser

# Short, so that a killed worker's job is soon the next one's; a block takes some 8 s, so four beats fit into a lease.
LEASE_SECONDS = 90
HEARTBEAT_SECONDS = 15
IDLE_SECONDS = 2.0

RATE_HZ = 16_000  # what the model was trained on
BYTES_PER_MS = RATE_HZ * 2 // 1000  # samples of 16 bits, one channel
FRAME_MS = 10  # the recogniser's unit of time
PAUSE_MS = 500
# Longer blocks are recognised better, since words are judged by their neighbours; shorter ones show progress sooner.
SHORTEST_BLOCK_MS = 8_000
LONGEST_BLOCK_MS = 15_000

GLAD = frozenset({"better", "calm", "glad", "good", "great", "happy", "hope", "love", "peace", "safe", "thank", "well"})
SAD = frozenset({"afraid", "attack", "bad", "death", "fear", "fire", "hate", "hurt", "kill", "pain", "sorry", "wrong"})


class Block(NamedTuple):
    """A piece of sound that is recognised at once: where it starts, and its samples."""

    start_ms: int
    samples: bytes


class StoppedError(Exception):
    """Somebody asked this process to end."""


class Stop:
    """Whether SIGTERM or SIGINT has come. Looked at between blocks, so that nothing is torn in the middle."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)  # who asks twice means it


def serve(db: Database, actor: str, stop: Stop, *, once: bool) -> bool:
    """Do jobs until asked to stop, or one with `once`; return False when that one failed."""
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
    """Run a claimed job, or give it back with the reason; return whether its results are stored.

    Raises Unavailable when the database does not answer: the lease expires then, and another worker gets the job.
    """
    say(f"job {job.id}, attempt {job.attempts}: {job.audio_file.name}")
    try:
        segments = listen(db, actor, job, stop)
        store(db, actor, job, segments)
    except LeaseLost:
        say(f"job {job.id} is another worker's by now; nothing is stored")
        return False
    except Unavailable:
        raise
    except StoppedError:
        give_back(db, actor, job, "the worker was asked to stop", delay_seconds=0)
        return False
    except InvalidInput as error:
        give_back(db, actor, job, str(error), retry=False)
        return False
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one recording must not end the service
        give_back(db, actor, job, f"{type(error).__name__}: {error}")
        return False
    say(f"job {job.id} is done: {sum(len(segment.words or ()) for segment in segments)} words")
    return True


def listen(db: Database, actor: str, job: ProcessingJob, stop: Stop) -> list[Segment]:
    """Return what is said in the job's recording. Keeps the lease alive meanwhile; raises LeaseLost when it is lost."""
    audio = job.audio_file
    if audio.language is not None and audio.language.code.partition("-")[0] != LANGUAGE:
        raise InvalidInput(f"The recording is in {audio.language.name}; this transcriber knows English only.")
    # No session stays open while the recogniser runs: a transaction of minutes blocks vacuum and sealing.
    with db.session(actor=actor) as session:
        file = recordings.open(session, audio)
    keep_alive = heart(db, actor, job)
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
    """Store the transcription, its analysis, and that the job is done: all of it or nothing. Raises LeaseLost."""
    model_version = version(MODEL)
    with db.session(actor=actor, reason=f"job {job.id}") as session:
        # First, so that a lost lease is called by its name: with the lease goes the sight of the recording.
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
    db: Database, actor: str, job: ProcessingJob, why: str, *, retry: bool = True, delay_seconds: int = 30
) -> None:
    """Report why the job is not done. The queue decides whether and when it is tried again."""
    try:
        with db.session(actor=actor) as session:
            state = work.fail(session, job, why, retry=retry, delay_seconds=delay_seconds)
    except LeaseLost:
        state = "another worker's"
    say(f"job {job.id} is {state}: {why}")


def heart(db: Database, actor: str, job: ProcessingJob) -> Callable[[], None]:
    """Return what to call often: it extends the lease when that is due.

    Called from the work itself and not from a thread beside it: a worker that hangs is to lose its job.
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
    """Decode a recording of any format, piece by piece, to what the recogniser wants."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    # A recording is somebody else's bytes: nothing in it may make the decoder open files or fetch addresses.
    with av.open(file, mode="r", options={"protocol_whitelist": "pipe"}) as container:
        for packet in container.demux(container.streams.audio[0]):
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                continue  # a damaged packet costs its own moment, not the rest of the recording
            for frame in decoded:
                for resampled in resampler.resample(frame):
                    yield sound_of(resampled)
    for resampled in resampler.resample(None):
        yield sound_of(resampled)


def sound_of(frame: av.AudioFrame) -> bytes:
    # A plane may be longer than its samples.
    return bytes(frame.planes[0])[: frame.samples * 2]


def blocks(sound: Iterable[bytes]) -> Iterator[Block]:
    """Cut sound into blocks of 8 to 15 s, in a pause where there is one, so that no word is cut in two."""
    ears = Endpointer(sample_rate=RATE_HZ)
    waiting, block, start_ms = bytearray(), bytearray(), 0
    for piece in sound:
        waiting += piece
        while len(waiting) >= ears.frame_bytes:
            frame = bytes(waiting[: ears.frame_bytes])
            del waiting[: ears.frame_bytes]
            ears.process(frame)
            block += frame
            length_ms = len(block) // BYTES_PER_MS
            if length_ms >= LONGEST_BLOCK_MS or (length_ms >= SHORTEST_BLOCK_MS and not ears.in_speech):
                yield Block(start_ms, bytes(block))
                start_ms += length_ms
                block.clear()
    block += waiting
    if block:
        yield Block(start_ms, bytes(block))


def recognise(decoder: Decoder, block: Block) -> list[Segment]:
    """Return what is said in a block, cut at its pauses, with the time and the probability of every word."""
    decoder.start_utt()
    decoder.process_raw(block.samples, full_utt=True)
    decoder.end_utt()
    sentences: list[list[Word]] = []
    end_ms = -PAUSE_MS
    for heard in decoder.seg() or ():
        if heard.word[0] in "<[+":
            continue  # silence and noise: <sil>, [NOISE], ++COUGH++
        start_ms = block.start_ms + heard.start_frame * FRAME_MS
        if start_ms - end_ms >= PAUSE_MS or not sentences:
            sentences.append([])
        end_ms = block.start_ms + (heard.end_frame + 1) * FRAME_MS
        text = re.sub(r"\(\d+\)$", "", heard.word)  # read(2) is another way to say read
        sentences[-1].append(Word(text, start_ms, end_ms, confidence=min(round(heard.prob, 4), 1.0)))
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
    """Return a simple analysis: the longest sentence for a summary, and a mood by counting words from two lists."""
    words = [word for segment in segments for word in segment.text.split()]
    glad, sad = sum(word in GLAD for word in words), sum(word in SAD for word in words)
    score = (glad - sad) / (glad + sad) if glad + sad else 0.0
    mood = "positive" if score > 1 / 3 else "negative" if score < -1 / 3 else "mixed" if glad else "neutral"
    frequent = Counter(word for word in words if len(word) > 4).most_common(5)
    return {
        "summary": shorten(max((segment.text for segment in segments), key=len, default=""), 200, placeholder=" …"),
        "sentiment": mood,
        "sentiment_score": round(score, 3),
        "details": {"words": len(words), "frequent": dict(frequent), "glad": glad, "sad": sad},
    }


def progress(at_ms: int, of_ms: int | None) -> str:
    share = f"{min(at_ms / of_ms, 1):4.0%} of {of_ms / 1000:.0f} s" if of_ms else f"{at_ms / 1000:.0f} s"
    return f"heard {share}"


def say(text: str) -> None:
    print(f"transcriber: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Transcribe recordings as the queue hands them out.")
    parser.add_argument("--once", action="store_true", help="do one job, if there is one, and end")
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
