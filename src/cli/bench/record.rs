//! What is measured: one histogram and a few counters for each operation, kept by every lane for
//! itself and merged at the end.

use hdrhistogram::Histogram;
use tonic::Code;

use super::{caller::Answer, plan::Operation, wire::Fault};
use crate::cli::{exit::Exit, output::Failure};

/// The shortest latency that is told apart, in nanoseconds.
const LATENCY_NS_MIN: u64 = 1_000;
/// The longest latency; longer ones count as this: one minute, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;
/// The status codes of gRPC, `OK` included.
const CODES: usize = 17;

/// What was measured of one operation.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// From the intended start to the answer, in nanoseconds; errors are not in it.
    pub(super) latency: Histogram<u64>,
    /// Answers that came within the measured time.
    pub(super) answered: u64,
    /// Of those, the denials: what did nothing is no throughput.
    pub(super) denied_in_time: u64,
    /// Answers that were denials.
    pub(super) denied: u64,
    errors: [u64; CODES],
}

impl Record {
    fn new() -> Result<Self, Failure> {
        Ok(Record {
            latency: histogram()?,
            answered: 0,
            denied_in_time: 0,
            denied: 0,
            errors: [0; CODES],
        })
    }

    /// The errors, by the code's name.
    pub(super) fn errors(&self) -> impl Iterator<Item = (String, u64)> {
        let counted = (0..).zip(self.errors).filter(|(_, count)| *count > 0);
        counted.map(|(code, count)| (format!("{:?}", Code::from_i32(code)), count))
    }

    pub(super) fn add(&mut self, other: &Record) -> Result<(), Failure> {
        merge(&mut self.latency, &other.latency)?;
        self.answered += other.answered;
        self.denied_in_time += other.denied_in_time;
        self.denied += other.denied;
        for (sum, count) in self.errors.iter_mut().zip(other.errors) {
            *sum += count;
        }
        Ok(())
    }
}

/// What was measured, of all operations.
#[derive(Clone, Debug)]
pub(super) struct Records {
    operations: Vec<Record>,
    /// From the intended start to the sending, in nanoseconds: how late the generator itself was,
    /// its own slowness and the want of a free worker together.
    pub(super) lag: Histogram<u64>,
    /// Calls that were begun and belong to the measured time.
    pub(super) begun: u64,
    /// Calls that were refused and did nothing for certain, those of the warm-up too.
    pub(super) refused: u64,
    /// The first of those, in words.
    pub(super) first_refusal: Option<String>,
    /// The first error, for people to see what it was.
    pub(super) first_error: Option<String>,
}

impl Records {
    /// Nothing measured yet.
    pub(super) fn new() -> Result<Self, Failure> {
        let operations: Result<Vec<Record>, Failure> =
            Operation::ALL.iter().map(|_| Record::new()).collect();
        Ok(Records {
            operations: operations?,
            lag: histogram()?,
            begun: 0,
            refused: 0,
            first_refusal: None,
            first_error: None,
        })
    }

    /// One operation's.
    pub(super) fn of(&self, operation: Operation) -> Option<&Record> {
        self.operations.get(operation.index())
    }

    /// All operations as one.
    pub(super) fn all(&self) -> Result<Record, Failure> {
        let mut all = Record::new()?;
        for record in &self.operations {
            all.add(record)?;
        }
        Ok(all)
    }

    /// What was granted, settled and released, and what was denied, of the measured time.
    pub(super) fn granted_and_denied(&self) -> (u64, u64) {
        let changes = Operation::ALL.into_iter();
        let changes = changes.filter(|operation| *operation != Operation::Balance);
        let records = changes.filter_map(|operation| self.of(operation));
        records.fold((0, 0), |(granted, denied), record| {
            let answers = record.latency.len();
            (
                granted + answers.saturating_sub(record.denied),
                denied + record.denied,
            )
        })
    }

    /// A call that was not answered, of the warm-up or of the measured time.
    pub(super) fn failed(&mut self, operation: Operation, fault: &Fault) {
        let said = || format!("{}: {:?}: {}", operation.name(), fault.code, fault.message);
        self.first_error.get_or_insert_with(said);
        if !fault.is_uncertain() {
            self.refused += 1;
            self.first_refusal.get_or_insert_with(said);
        }
    }

    /// A call of the measured time; one that was not answered is told to [`Records::failed`] besides.
    /// `in_time`: answered before it ended.
    pub(super) fn note(
        &mut self,
        operation: Operation,
        latency_ns: u64,
        answer: &Result<Answer, Fault>,
        in_time: bool,
    ) {
        let Some(record) = self.operations.get_mut(operation.index()) else {
            return;
        };
        match answer {
            Ok(answer) => {
                record.latency.saturating_record(latency_ns);
                record.answered += u64::from(in_time);
                let is_denied = *answer == Answer::Denied;
                record.denied += u64::from(is_denied);
                record.denied_in_time += u64::from(is_denied && in_time);
            }
            Err(fault) => {
                let code = usize::try_from(i32::from(fault.code)).unwrap_or(0);
                if let Some(count) = record.errors.get_mut(code) {
                    *count += 1;
                }
            }
        }
    }

    pub(super) fn add(&mut self, other: &Records) -> Result<(), Failure> {
        for (sum, record) in self.operations.iter_mut().zip(&other.operations) {
            sum.add(record)?;
        }
        merge(&mut self.lag, &other.lag)?;
        self.begun += other.begun;
        self.refused += other.refused;
        for (sum, other) in [
            (&mut self.first_refusal, &other.first_refusal),
            (&mut self.first_error, &other.first_error),
        ] {
            if sum.is_none() {
                sum.clone_from(other);
            }
        }
        Ok(())
    }
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS)
        .map_err(|error| Failure::new(Exit::Internal, format!("making a histogram: {error}")))
}

fn merge(sum: &mut Histogram<u64>, other: &Histogram<u64>) -> Result<(), Failure> {
    sum.add(other)
        .map_err(|error| Failure::new(Exit::Internal, format!("merging histograms: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_denials_and_errors_are_told_apart() {
        let mut one = Records::new().unwrap();
        one.note(Operation::Reserve, 2_000_000, &Ok(Answer::Held(3)), true);
        one.note(Operation::Reserve, 4_000_000, &Ok(Answer::Denied), false);
        let fault = Fault {
            code: Code::Unavailable,
            message: "gone".to_owned(),
        };
        one.failed(Operation::Commit, &fault);
        one.note(Operation::Commit, 9_000_000, &Err(fault), true);
        one.note(Operation::Reserve, 1_000_000, &Ok(Answer::Denied), true);
        let refusal = Fault {
            code: Code::InvalidArgument,
            message: "no such model".to_owned(),
        };
        one.failed(Operation::Reserve, &refusal);
        let mut sum = Records::new().unwrap();
        sum.add(&one).unwrap();
        sum.add(&one).unwrap();

        let reserve = sum.of(Operation::Reserve).unwrap();
        assert_eq!(
            (reserve.answered, reserve.denied, reserve.latency.len()),
            (4, 4, 6)
        );
        assert_eq!(reserve.denied_in_time, 2);
        assert_eq!(sum.granted_and_denied(), (2, 4));
        let refusal = "reserve: InvalidArgument: no such model";
        assert_eq!(
            (sum.refused, sum.first_refusal.as_deref()),
            (2, Some(refusal))
        );
        assert!(reserve.latency.value_at_quantile(1.0).abs_diff(4_000_000) < 4_000);
        let commit = sum.of(Operation::Commit).unwrap();
        assert_eq!(
            commit.errors().collect::<Vec<_>>(),
            [("Unavailable".to_owned(), 2)]
        );
        assert!(commit.latency.is_empty(), "an error is no answer");
        assert_eq!(
            sum.first_error.as_deref(),
            Some("commit: Unavailable: gone")
        );
        assert_eq!(sum.all().unwrap().latency.len(), 6);
    }
}
