//! What a VIEW-CHANGE and a NEW-VIEW must be to count (OSDI '99, section 4.4).

use super::{Claims, Invalid, Name, Verifier};
use crate::crypto::Claim;
use crate::message::{NewView, ViewChange};
use crate::mutant::{self, Mutant};
use crate::signed::Signed;

/// Signatures of one VIEW-CHANGE that are checked together, about.
const BATCH_MAX: usize = 512;

impl Verifier {
    /// OSDI '99, section 4.4: what a VIEW-CHANGE must be to count.
    ///
    /// It may show a hundred thousand signatures. So its own is checked before those inside, which only its signer can
    /// make anybody look at; those are checked a batch at a time, up to the first bad batch; and what is good is known
    /// to the next VIEW-CHANGE, which shows mostly the same.
    pub(super) fn check_view_change(&mut self, message: &Signed<ViewChange>) -> Result<(), Invalid> {
        self.check_shape_of_view_change(message)?;
        let own = self.claim(&message.body, message.signer, message.signature)?;
        self.check_now(vec![own], Vec::new())?;
        let (mut claims, mut names) = (Vec::new(), Vec::new());
        if let Some(stable) = &message.stable {
            self.check_certificate(stable, &mut Claims { claims: &mut claims, names: &mut names })?;
        }
        for certificate in message.prepared.iter() {
            self.check_certificate(certificate, &mut Claims { claims: &mut claims, names: &mut names })?;
            if claims.len() + self.context.committee.quorum() > BATCH_MAX {
                self.check_now(std::mem::take(&mut claims), std::mem::take(&mut names))?;
            }
        }
        self.check_now(claims, names)
    }

    /// Claims of which none may fail, without waiting for others; what holds is remembered.
    fn check_now(&mut self, claims: Vec<Claim>, names: Vec<Name>) -> Result<(), Invalid> {
        self.signatures += claims.len() as u64;
        if !self.checker.verify_all(&claims) {
            return Err(Invalid::Signature);
        }
        for name in names {
            if let Name::Vote(vote) = name {
                self.known.insert(vote);
            }
        }
        Ok(())
    }

    /// Everything about a VIEW-CHANGE but its signatures.
    fn check_shape_of_view_change(&self, message: &Signed<ViewChange>) -> Result<(), Invalid> {
        let low = message.low();
        let high = low.plus(self.context.parameters.window);
        if let Some(stable) = &message.stable {
            if stable.statement.seq.0 == 0 {
                return Err(Invalid::ViewChange("the epoch's beginning needs no certificate"));
            }
            self.check_shape(stable)?;
        }
        if message.prepared.len() as u64 > self.context.parameters.window {
            return Err(Invalid::ViewChange("more certificates than the window has slots"));
        }
        if !message.prepared.is_sorted_by(|one, other| one.statement.seq < other.statement.seq) {
            return Err(Invalid::ViewChange("its certificates are not ascending by slot"));
        }
        for certificate in message.prepared.iter() {
            let prepare = &certificate.statement;
            if prepare.seq <= low || prepare.seq > high {
                return Err(Invalid::ViewChange("a certificate is outside its watermarks"));
            }
            if prepare.view >= message.view {
                return Err(Invalid::ViewChange("a certificate is of the new view or a later one"));
            }
            self.check_shape(certificate)?;
        }
        Ok(())
    }

    pub(super) fn check_new_view(
        &self,
        message: &Signed<NewView>,
        claims: &mut Claims<'_>,
    ) -> Result<(), Invalid> {
        if message.signer != self.context.committee.primary(message.view) {
            return Err(Invalid::NotPrimary { signer: message.signer, view: message.view });
        }
        if message.view_changes.len() != self.context.committee.quorum() {
            return Err(Invalid::NewView("it does not name exactly a quorum of view changes"));
        }
        let distinct = message.view_changes.is_sorted_by(|(one, _), (other, _)| one < other);
        if !distinct && !mutant::is(Mutant::M6) {
            return Err(Invalid::NewView("its replicas are not ascending and distinct"));
        }
        if let Some((stranger, _)) =
            message.view_changes.iter().find(|(id, _)| usize::from(id.0) >= self.context.committee.size())
        {
            return Err(Invalid::NotInCommittee(*stranger));
        }
        self.check_statement(message, claims)
    }
}
