"""The tasks of an analysis: trainings of tickets, and their measurements."""

from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import session as session_lib
from tf_lottery.experiments.analyses import subject as subject_lib
from tf_lottery.jobs import scheduling
from tf_lottery.jobs import tasks

_last = {}


def do(engine, kind, plan, keep):
    """Trains and measures what an analysis has to do yet."""
    measuring = Measuring(kind, plan, keep)
    # For the tasks that this process does itself.
    _last.update(place=_place_of(kind.session), session=kind.session)
    try:
        scheduling.run(measuring.tasks(), engine, measuring)
    finally:
        _last.clear()


class Measuring(progress_lib.Follower):
    """Lists the tasks of an analysis, and keeps what was measured."""

    def __init__(self, kind, plan, keep):
        super().__init__(kind.session.progress)
        self._kind, self._plan, self._keep = kind, plan, keep
        self._place = _place_of(kind.session)

    def tasks(self):
        """Returns all of them, each ticket's trainings before it."""
        found, missing = [], set(self._plan.trainings)
        for item in self._plan.items:
            needed = self._kind.trainings(item)
            for training in dict.fromkeys(needed):
                if training in missing:
                    missing.remove(training)
                    found.append(tasks.Task(
                        training.name, train, (self._place, training),
                        group=f"trial-{training.trial}",
                    ))
            found.append(tasks.Task(
                f"{self._kind.name}: trial {item[0]}, round {item[1]}",
                measure, (self._place, self._kind.name, item),
                after=tuple(
                    training.name for training in dict.fromkeys(needed)
                    if training in self._plan.trainings
                ),
                group=f"trial-{item[0]}", cost=2.0,
            ))
        return found

    def begin(self, task):
        if task.function is train:
            self._progress.training_begin(task.arguments[1])

    def done(self, task, result):
        if task.function is measure:
            item = task.arguments[2]
            self._keep(item, result)
            self._progress.measured(item)
        return ()


def train(place, training, progress):
    """Trains a ticket again, and keeps its weights."""
    _session(place, progress).trainings.weights(training)


def measure(place, name, item, progress):
    """Measures a ticket; returns a list of dicts."""
    kind = kind_lib.get(name)(_session(place, progress))
    about = kind.about(item)
    return [about | row for row in kind.measure(item)]


def _place_of(session):
    """What any process makes this session of: two paths and the options."""
    return (
        session.subject.path.absolute(), session.place.absolute(),
        session.options,
    )


def _session(place, progress):
    """The session that this process had last, if it is of the same place."""
    if _last.get("place") != place:
        _last.clear()
        run, results, options = place
        session = session_lib.Session(
            subject_lib.Subject(run), options, results, progress
        )
        _last.update(place=place, session=session)
    session = _last["session"]
    session.trainings.progress = progress
    return session
