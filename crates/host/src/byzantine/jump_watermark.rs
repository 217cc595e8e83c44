//! A primary that proposes at the far end of the window: what it orders cannot execute, and the window is full of gaps.

use std::collections::BTreeSet;

use quorate_protocol::message::Prepare;
use quorate_protocol::process::{Effect, Say};
use quorate_protocol::types::{Seq, View};

use super::Behaviour;
use super::stage::{Saying, Stage};

#[derive(Debug, Default)]
pub(super) struct JumpWatermark {
    /// Where it proposed, in the newest view.
    used: BTreeSet<(View, Seq)>,
}

impl JumpWatermark {
    /// The last slot of the window where it has not proposed yet; never one beyond what its journal has promised, of
    /// which others could show it its own vote.
    fn place(&mut self, stage: &Stage<'_>, view: View, seq: Seq) -> Option<Seq> {
        self.used.retain(|(used, _)| *used == view);
        let last = stage.replica.watermarks().1.min(stage.replica.promised().1);
        let free = (seq.0 + 1..=last.0).rev().map(Seq).find(|seq| !self.used.contains(&(view, *seq)))?;
        self.used.insert((view, free));
        Some(free)
    }
}

impl Behaviour for JumpWatermark {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let Say::PrePrepare { prepare, body } = &saying.message else { return out.push(saying.effect()) };
        let Prepare { view, seq, digest } = *prepare;
        if !stage.is_tempted(view, Some(seq)) {
            return out.push(saying.effect());
        }
        let Some(seq) = self.place(stage, view, seq) else { return out.push(saying.effect()) };
        let lie = Say::PrePrepare { prepare: Prepare { view, seq, digest }, body: body.clone() };
        let targets = stage.targets();
        stage.tell(saying, &targets, |_| vec![lie.clone()], out);
    }
}
