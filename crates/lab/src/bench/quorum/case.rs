//! What is done to the holder, what it may cost, and who else is asked to stand it.

use std::time::Duration;

use anyhow::Result;
use rustix::process::{Signal, kill_process};

use super::bed::{Bed, Shape, Wound};
use crate::{Fault, Way};

/// A row of the table. The first node holds the address, the second waits for it, the third member is the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    HolderAlone,
    BackupAlone,
    WitnessAlone,
    SpeechCut,
    SpeechOut,
    SpeechIn,
    OneWayOut,
    OneWayIn,
    Isolation,
    Freeze,
    Kill,
    PausedRole,
    Crash,
    Stop,
    FailedProbe,
    Move,
    Carrier,
    SecondWire,
    Double,
    WitnessDown,
}

/// Holder, backup, witness: their numbers in the bed.
const HOLDER: usize = 0;
const BACKUP: usize = 1;
const WITNESS: usize = 2;

impl Case {
    pub(super) const ALL: [Self; 20] = [
        Self::HolderAlone,
        Self::BackupAlone,
        Self::WitnessAlone,
        Self::SpeechCut,
        Self::SpeechOut,
        Self::SpeechIn,
        Self::OneWayOut,
        Self::OneWayIn,
        Self::Isolation,
        Self::Freeze,
        Self::Kill,
        Self::PausedRole,
        Self::Crash,
        Self::Stop,
        Self::FailedProbe,
        Self::Move,
        Self::Carrier,
        Self::SecondWire,
        Self::Double,
        Self::WitnessDown,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::HolderAlone => "partition: holder alone",
            Self::BackupAlone => "partition: backup alone",
            Self::WitnessAlone => "partition: witness alone",
            Self::SpeechCut => "peers only: holder neither heard nor hears",
            Self::SpeechOut => "peers only: holder not heard",
            Self::SpeechIn => "peers only: holder does not hear",
            Self::OneWayOut => "one-way loss: out of the holder",
            Self::OneWayIn => "one-way loss: in to the holder",
            Self::Isolation => "isolation of the holder",
            Self::Freeze => "freeze of the holder, 10 s",
            Self::Kill => "kill -9 of all of the holder",
            Self::PausedRole => "paused vip role",
            Self::Crash => "crash of the holder",
            Self::Stop => "stop",
            Self::FailedProbe => "failed probe",
            Self::Move => "vip move",
            Self::Carrier => "carrier loss, second wire up",
            Self::SecondWire => "one of two wires cut",
            Self::Double => "duplicate node id",
            Self::WitnessDown => "witness down",
        }
    }

    /// Whether another node has the address afterwards.
    pub(super) const fn moves(self) -> bool {
        match self {
            Self::HolderAlone
            | Self::SpeechCut
            | Self::SpeechOut
            | Self::SpeechIn
            | Self::OneWayOut
            | Self::OneWayIn
            | Self::Isolation
            | Self::Freeze
            | Self::Kill
            | Self::PausedRole
            | Self::Crash
            | Self::Stop
            | Self::FailedProbe
            | Self::Move
            | Self::Carrier => true,
            Self::BackupAlone | Self::WitnessAlone | Self::SecondWire | Self::Double | Self::WitnessDown => {
                false
            }
        }
    }

    /// The longest that a client may wait.
    pub(super) const fn bound(self, term: Duration) -> Duration {
        match self {
            Self::HolderAlone
            | Self::SpeechCut
            | Self::SpeechOut
            | Self::SpeechIn
            | Self::OneWayOut
            | Self::OneWayIn
            | Self::Isolation
            | Self::Freeze
            | Self::Kill
            | Self::PausedRole
            | Self::Crash => term.saturating_add(Duration::from_millis(100)),
            Self::Stop | Self::FailedProbe | Self::Move | Self::Carrier => Duration::from_millis(20),
            Self::BackupAlone | Self::WitnessAlone | Self::SecondWire | Self::Double | Self::WitnessDown => {
                Duration::ZERO
            }
        }
    }

    /// Whether keepalived can be hurt in the same way.
    pub(super) const fn of_all(self) -> bool {
        match self {
            Self::HolderAlone
            | Self::SpeechCut
            | Self::SpeechOut
            | Self::OneWayOut
            | Self::OneWayIn
            | Self::Isolation
            | Self::Freeze
            | Self::Kill
            | Self::Stop => true,
            Self::BackupAlone
            | Self::WitnessAlone
            | Self::SpeechIn
            | Self::PausedRole
            | Self::Crash
            | Self::FailedProbe
            | Self::Move
            | Self::Carrier
            | Self::SecondWire
            | Self::Double
            | Self::WitnessDown => false,
        }
    }

    /// How long the wound stays open at least.
    pub(super) fn lasts(self, term: Duration) -> Duration {
        if self == Self::Freeze {
            Duration::from_secs(10)
        } else if self.moves() {
            Duration::ZERO
        } else {
            // Long enough for every promise to run out several times.
            term * 4
        }
    }

    pub(super) const fn shape(self, term: Duration) -> Shape {
        // After a move by hand the first node must not take it back by itself.
        Shape { nodes: 2, witness: true, preempt: !matches!(self, Self::Move), term }
    }

    /// Does it.
    pub(super) fn strike(self, bed: &Bed) -> Result<Wound> {
        let cut = |cuts| Wound { cuts, ..Wound::default() };
        Ok(match self {
            Self::HolderAlone => {
                let others: Vec<usize> = (BACKUP..bed.members.len()).collect();
                cut(bed.part(&[HOLDER], &others)?)
            }
            Self::BackupAlone => cut(bed.part(&[BACKUP], &[HOLDER, WITNESS])?),
            Self::WitnessAlone => cut(bed.part(&[WITNESS], &[HOLDER, BACKUP])?),
            Self::SpeechCut => cut(bed.mute(HOLDER, Way::Both)?),
            Self::SpeechOut => cut(bed.mute(HOLDER, Way::Out)?),
            Self::SpeechIn => cut(bed.mute(HOLDER, Way::In)?),
            Self::OneWayOut => cut(bed.isolate(HOLDER, Way::Out)?),
            Self::OneWayIn => cut(bed.isolate(HOLDER, Way::In)?),
            Self::Isolation => cut(bed.isolate(HOLDER, Way::Both)?),
            Self::Freeze => bed.strike(HOLDER, &Fault::Freeze)?,
            Self::Kill => bed.strike(HOLDER, &Fault::KillAll)?,
            Self::PausedRole => {
                let role = bed.ours(HOLDER)?.worker_pid("vip")?;
                kill_process(role, Signal::STOP)?;
                Wound { stopped: vec![role], ..Wound::default() }
            }
            Self::Crash => {
                // All at one moment: what a dead kernel would still have answered is cut off first.
                let cuts = bed.isolate(HOLDER, Way::Both)?;
                Wound { cuts, ..bed.strike(HOLDER, &Fault::KillAll)? }
            }
            Self::Stop => bed.strike(HOLDER, &Fault::Stop)?,
            Self::FailedProbe => {
                let flag = bed.well(HOLDER);
                std::fs::remove_file(&flag)?;
                Wound { flags: vec![flag], ..Wound::default() }
            }
            Self::Move => {
                bed.ours(HOLDER)?.say(&["vip", "move", "front"])?;
                Wound { moved_to: Some(BACKUP), ..Wound::default() }
            }
            Self::Carrier => {
                let port = bed.port(HOLDER, 0)?;
                port.set_carrier(false)?;
                Wound { carrier: vec![port], ..Wound::default() }
            }
            Self::SecondWire => cut(vec![bed.port(HOLDER, 1)?.isolate(Way::Both)?]),
            Self::Double => Wound { stranger: Some(bed.double()?), ..Wound::default() },
            Self::WitnessDown => bed.strike(WITNESS, &Fault::KillAll)?,
        })
    }
}
