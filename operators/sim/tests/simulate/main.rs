fn main() {
    let text = std::env::var("KOK_SIM_REPLAY").unwrap_or("create-minimal seed=1".into());
    let plan = text.parse().unwrap();
    let started = std::time::Instant::now();
    let run = kok_sim::run::run(&plan, &Default::default()).unwrap();
    for entry in &run.entries {
        println!("{entry}");
    }
    println!("{}", run.logs);
    println!("{:?} {} calls {} writes lasted {} ms", started.elapsed(), run.calls, run.writes, run.lasted);
    println!("{:#?}", kok_sim::oracle::judge(&run, None));
}
