"""Wrong inputs, thousands of them: each is refused in one line that names it, before anything is compiled or run."""

import jax
import jax.monitoring
import pytest

from regopt import sweep
from regopt.experiment import _cli as cli
from support import wrong_configs, wrong_inputs

SHARE = 24  # of all cases one in so many runs always


@pytest.fixture(scope="module")
def compiled():
    """Programs that XLA has compiled, by name; what the valid calls need is compiled before."""
    names: list[str] = []

    def listen(event, duration_secs, **about):
        del duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    wrong_inputs.run()
    wrong_inputs.fit()
    assert any("segment" in name for name in names)  # it does listen
    return names


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_text("no folder\n")
    return tmp_path


def complaints_of(case, compiled):
    """What is wrong with the refusal of a case: nothing, if all is well."""
    compiled.clear()
    try:
        case.call()
    except ValueError as error:
        line = str(error)
    except Exception as error:
        return [f"raises {type(error).__name__}: {error}"]
    else:
        return ["is accepted"]
    found = [f"lacks {word!r}" for word in case.words if word not in line]
    found += [f"compiles {name}" for name in compiled]
    if line.splitlines() != [line] or len(line) > 400:
        found.append("is not one line")
    return found and [*found, line[:300]]


@pytest.mark.parametrize("share", [SHARE, pytest.param(1, marks=pytest.mark.long)])
def test_wrong_arguments_are_refused_in_one_line_before_any_compile(folder, compiled, share):
    cases = wrong_inputs.of_python(str(folder))[::share]
    wrong = {case.name: complaints for case in cases if (complaints := complaints_of(case, compiled))}
    assert wrong == {}
    assert sorted(path.name for path in folder.iterdir()) == ["file"]


@pytest.mark.parametrize("share", [SHARE, pytest.param(1, marks=pytest.mark.long)])
def test_wrong_configs_and_commands_end_with_code_two_and_one_line(tmp_path, monkeypatch, capsys, share):
    monkeypatch.chdir(wrong_configs.ROOT)
    monkeypatch.setattr(cli, "execute_in", lambda *_, **__: pytest.fail("accepted"))
    monkeypatch.setattr(cli, "_use_all_cores", lambda: None)
    file, wrong = tmp_path / "config.toml", {}
    for case in wrong_configs.of_command_line(tmp_path)[::share]:
        file.write_bytes(case.config or b"")
        code = cli.main([str(file) if word == "FILE" else word for word in case.argv])
        printed, line = capsys.readouterr()
        missing = [word for word in case.words if word not in line]
        is_line = line.startswith("regopt: ") and line.endswith("\n") and len(line.splitlines()) == 1
        if code != 2 or missing or not is_line or printed or len(line) > len(str(tmp_path)) + 600:
            wrong[case.name] = (code, missing, line[:300], printed[:300])
    assert wrong == {}


def test_the_neighbours_of_what_is_wrong_are_not_refused():
    wrong_inputs.run(batch_size=None, slots=None, monitor="validation_accuracy", mode="min", patience=0)
    wrong_inputs.run(patience=-0.0, save_every=0, devices=tuple(jax.devices()))
    wrong_inputs.fit(batch_size=12, patience=1.5, monitor="train_loss", mode="max")


def test_unusual_spaces_are_not_refused():
    space = {
        "四": sweep.choice(range(3)),
        "rate": sweep.uniform(-0.0, 5e-324),
        "name": sweep.static((None, True, 1, 1.0, "λ", (1, 2), len)),
        "seed": sweep.seeds(2, 2**31 - 3),
    }
    settings = sweep.grid(space, points=2)
    assert len(settings) == 3 * 2 * 7 * 2
    assert len(list(settings.groups())) == 7
