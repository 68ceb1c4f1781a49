//! `cargo test -p kok-sim --test simulate`: every scenario, with the faults that its plan enumerates. Prints what was run.
//!
//! - `KOK_SIM_REPLAY='<scenario> <faults> seed=<n>'` repeats one plan exactly and tells its story; with `KOK_SIM_ALL=1` every
//!   call and the log too.
//! - An argument runs the scenarios whose name contains it, `--soak <minutes>` goes on with fresh seeds.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)] // a test with a report

mod campaigns;
mod mutants;
mod report;
mod soak;

use std::process::ExitCode;

use kok_sim::campaign::References;
use kok_sim::fault::Plan;
use kok_sim::run::{Options, run};
use kok_sim::story;

fn main() -> ExitCode {
    if let Ok(text) = std::env::var("KOK_SIM_REPLAY") {
        return replay(&text);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What a test runner asks of every test program.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("simulate: test");
        return ExitCode::SUCCESS;
    }
    let minutes = arguments
        .iter()
        .position(|argument| argument == "--soak")
        .map(|index| arguments.get(index + 1).and_then(|minutes| minutes.parse().ok()).unwrap_or(10));
    let failures = match minutes {
        Some(minutes) => soak::go_on(minutes),
        None => campaigns::all(arguments.iter().find(|argument| !argument.starts_with('-'))),
    };
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(text: &str) -> ExitCode {
    let plan: Plan = match text.parse() {
        Ok(plan) => plan,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let problems = References::default().judge(&plan).problems;
    match run(&plan, &Options::default()) {
        Ok(run) if std::env::var_os("KOK_SIM_ALL").is_some() => {
            run.entries.iter().for_each(|entry| println!("{entry}"));
            println!("{}", run.logs);
            println!("{problems:#?}");
        }
        Ok(run) => println!("{}", story::tell(&run, &problems)),
        Err(error) => println!("{error}"),
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
