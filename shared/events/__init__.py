"""Every public event, and the registry of them by type."""

from shared.events.access import (
    AccessState,
    SignIn,
)
from shared.events.enrolment import (
    CohortCapacityChanged,
    CohortClosed,
    CohortOpened,
    CohortStarted,
    EnrolmentActivated,
    EnrolmentApproved,
    EnrolmentApproverChanged,
    EnrolmentCompleted,
    EnrolmentDeclined,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWaitlisted,
    EnrolmentWithdrawn,
    FeedbackPlan,
    Milestone,
    MilestoneAttested,
    MilestoneReached,
    MilestoneUndone,
    MilestoneWaived,
    PersonDeactivated,
    PersonManagerChanged,
    PersonMoved,
    PersonProvisioned,
    PersonReactivated,
    ProgrammePublished,
    ProgrammeRetired,
    Title,
)
from shared.events.event import REGISTRY, Event, Part
from shared.events.feedback import (
    ResponsesCounted,
    ResultsReleased,
    RoundClosed,
    RoundOpened,
    RoundWithheld,
)
from shared.events.invitations import (
    InvitationIssued,
    InvitationRevoked,
)
from shared.events.notifications import (
    NotificationDeferred,
    NotificationFailed,
    NotificationSent,
)
from shared.events.people import (
    PersonState,
)
from shared.events.sessions import (
    SessionEnded,
)
from shared.events.sign_ins import (
    SignInChanged,
)
from shared.events.teams import (
    TeamsChanged,
)
from shared.events.units import (
    UnitState,
)
from shared.events.vocabulary import MOST_PEERS, Bucket, CloseReason, Group, PersonStatus, Practice, PrincipalKind, Role

__all__ = [
    "MOST_PEERS",
    "REGISTRY",
    "AccessState",
    "Bucket",
    "CloseReason",
    "CohortCapacityChanged",
    "CohortClosed",
    "CohortOpened",
    "CohortStarted",
    "EnrolmentActivated",
    "EnrolmentApproved",
    "EnrolmentApproverChanged",
    "EnrolmentCompleted",
    "EnrolmentDeclined",
    "EnrolmentExpired",
    "EnrolmentRequested",
    "EnrolmentWaitlisted",
    "EnrolmentWithdrawn",
    "Event",
    "FeedbackPlan",
    "Group",
    "InvitationIssued",
    "InvitationRevoked",
    "Milestone",
    "MilestoneAttested",
    "MilestoneReached",
    "MilestoneUndone",
    "MilestoneWaived",
    "NotificationDeferred",
    "NotificationFailed",
    "NotificationSent",
    "Part",
    "PersonDeactivated",
    "PersonManagerChanged",
    "PersonMoved",
    "PersonProvisioned",
    "PersonReactivated",
    "PersonState",
    "PersonStatus",
    "Practice",
    "PrincipalKind",
    "ProgrammePublished",
    "ProgrammeRetired",
    "ResponsesCounted",
    "ResultsReleased",
    "Role",
    "RoundClosed",
    "RoundOpened",
    "RoundWithheld",
    "SessionEnded",
    "SignIn",
    "SignInChanged",
    "TeamsChanged",
    "Title",
    "UnitState",
]
