"""`medled demo`: a programme on a sample organisation, played for real."""

import asyncio
import contextlib
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.embedded.process import StartFailedError
from deploy.output import fail, note, say, table
from deploy.stack import Stack, data_directory

if TYPE_CHECKING:
    from deploy.demo.figures import Line
    from deploy.demo.play import Outcome
    from deploy.demo.sample import Organisation
    from deploy.supervisor import Supervisor

_INTERRUPTED = 130


def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="End with the summary, the portal not left open.")] = False,
    data: Annotated[Path | None, typer.Option(help="Where everything is kept [MEDLED_DATA, else .medled].")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the portal, the one address people use.")] = 8080,
) -> None:
    """Start Medled, play a programme on a sample organisation over its public APIs, and leave the portal open.

    Data of an earlier demo is reused; one that was interrupted goes on. Exit status: 0 when all figures tie up and
    nothing was lost or doubled, 1 otherwise, 130 when it was interrupted before the summary.
    """
    from deploy.local import CannotStartError, Options, running
    from deploy.provision import MigrationFailedError

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = Options(data=data_directory(data), port=port)
    played = False
    say(f"Starting Medled on {options.data}: Postgres, a broker, a mail sink, an issuer and four services.")
    try:
        with running(options, note) as (stack, supervisor):
            say(f"Medled runs: {stack.public_url}, its broker for consumers of your own: {stack.kafka_bootstrap}")
            outcome = _watched(stack, supervisor)
            played = True
            _summarise(stack, outcome)
            if once:
                raise typer.Exit(0 if outcome.is_sound else 1)
            _invite(stack)
            supervisor.watch()
    except (CannotStartError, StartFailedError, MigrationFailedError) as reason:
        fail(str(reason))
    except KeyboardInterrupt:
        note("Medled has ended.")
        if not played:
            raise typer.Exit(_INTERRUPTED) from None


def _watched(stack: Stack, supervisor: "Supervisor") -> "Outcome":
    """Play in a thread of its own, while this one keeps the stack's processes running: they are its children."""
    from deploy.demo.play import play

    loop = asyncio.new_event_loop()
    task = loop.create_task(play(stack, say))
    thread = threading.Thread(target=_run, args=(loop, task), name="demo")
    thread.start()
    try:
        supervisor.watch(until=task.done)
    finally:
        if not task.done():
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
    return _outcome_of(task)


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Outcome]") -> None:
    with contextlib.suppress(Exception, asyncio.CancelledError):  # whoever asks the task for its result gets it
        loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_asyncgens())


def _outcome_of(task: "asyncio.Task[Outcome]") -> "Outcome":
    import httpx

    from deploy.demo.house import DemoFailedError
    from deploy.verify import CannotVerifyError

    try:
        return task.result()
    except (DemoFailedError, CannotVerifyError) as reason:
        fail(f"\nThe demo failed. {reason}")
    except httpx.HTTPError as error:
        fail(f"\nThe demo failed. A service cannot be reached: {str(error) or type(error).__name__}")


def _summarise(stack: Stack, outcome: "Outcome") -> None:
    verified = outcome.verified
    say("\nWhat was played, and what everybody says of it:\n")
    table(("", "played", "services", "portal", "mail folder", ""), [_row(line) for line in outcome.lines])
    state = "clean" if verified.clean else "NOT CLEAN"
    say(f"\nmedled verify: {state}; {verified.published} events, {verified.lost} lost, {verified.doubled} doubled.")
    for reason in (*verified.under_way, *verified.remarks):
        say(f"   {reason}")
    if trace := outcome.record.trace_id:
        say(f"One trace, from the request that reached a milestone to the mails it led to: medled trace {trace}")
    if not outcome.is_sound:
        note("The figures do not tie up; see the logs in " + str(stack.logs))


def _row(line: "Line") -> tuple[str | int, ...]:
    figures = ("" if figure is None else figure for figure in (line.played, line.services, line.portal, line.mail))
    return line.what, *figures, "" if line.ties_up else "differs"


def _invite(stack: Stack) -> None:
    from deploy.demo.sample import load_organisation
    from deploy.demo.signing_in import worth_being

    organisation = load_organisation()
    say(f"\nThe portal is open: {stack.public_url}. Sign in as anybody, for example as")
    notes = worth_being(organisation)
    table(("", ""), [(f"  {organisation.by_login[login].name}", note) for login, note in notes.items()])
    say(f"Mail lies in {stack.mail}. {_open_invitation(stack, organisation)}")
    say(f"Ctrl-C ends everything. Consumers of your own find the events at {stack.kafka_bootstrap}")
    say(f"It goes on from here when it is started again; to play it from the beginning, remove {stack.data} first.")


def _open_invitation(stack: Stack, organisation: "Organisation") -> str:
    """The link of a peer whom the demo leaves unanswered: what one reads there is the promise made to everybody."""
    from deploy.demo.leading import left_to_answer
    from deploy.demo.mailbox import read_mail
    from deploy.demo.sample import CO_LEADER

    co_leader = organisation.by_login[CO_LEADER]
    peer = left_to_answer(organisation, co_leader)[0]
    links = [
        mail.link
        for mail in read_mail(stack.mail)
        if mail.link and mail.address == peer.email and co_leader.name in mail.subject
    ]
    return f"The invitation to {peer.name}, to answer about {co_leader.name}: {links[-1]}" if links else ""
