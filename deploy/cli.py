"""`medled`: the command line. Each command lives in a module of its own under deploy/commands."""

import typer

from deploy.commands import dead_letters, demo, doctor, events, grant, hr, migrate, token, topics, trace, up, verify

app = typer.Typer(
    name="medled",
    help="Run and operate Medled. Commands find the embedded stack that `medled up` started by themselves; for any "
    "other deployment they read the same MEDLED_* settings as the services.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="demo")(demo.demo)
app.command(name="up")(up.up)
app.command(name="migrate")(migrate.migrate)
app.command(name="topics")(topics.topics)
app.command(name="doctor")(doctor.doctor)
app.command(name="grant")(grant.grant)
app.command(name="token")(token.token)
app.command(name="verify")(verify.verify)
app.command(name="trace")(trace.trace)
app.add_typer(hr.app, name="hr")
app.add_typer(events.app, name="events")
app.add_typer(dead_letters.app, name="dead-letters")

if __name__ == "__main__":
    app()
