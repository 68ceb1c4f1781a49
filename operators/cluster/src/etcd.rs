//! Asks the members of an etcd cluster who they are and whether they have a quorum.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use futures::future::join_all;
use kok_plan::Observed;
use kok_plan::cluster::view::{EtcdAnswer, EtcdFacts, EtcdMemberFacts};

/// Longest wait for one member: dial, handshake and answer together.
const DEADLINE: Duration = Duration::from_secs(3);

/// The operator's credentials for one etcd cluster, PEM.
pub struct EtcdCredentials {
    /// CA of the members.
    pub ca: String,
    /// Client certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

struct ListedMember {
    id: u64,
    name: String,
    learner: bool,
    started: bool,
}

struct MemberReport {
    cluster_id: u64,
    member_id: u64,
    leader: u64,
    version: String,
    db_size: u64,
    quorum: bool,
    members: Vec<ListedMember>,
}

/// Asks every member of `hosts` (name, host) at once; a silent one costs the deadline, not more.
pub async fn observe(hosts: &[(String, String)], credentials: &EtcdCredentials) -> Observed<EtcdFacts> {
    let answers = join_all(hosts.iter().map(|(_, host)| async move {
        match tokio::time::timeout(DEADLINE, ask(host, credentials)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{host} gave no answer within {} s", DEADLINE.as_secs())),
        }
    }))
    .await;
    facts(hosts, answers)
}

fn facts(hosts: &[(String, String)], answers: Vec<Result<MemberReport, String>>) -> Observed<EtcdFacts> {
    let why = answers
        .iter()
        .find_map(|answer| answer.as_ref().err().cloned())
        .unwrap_or_default();
    let reports: Vec<MemberReport> = answers.into_iter().filter_map(Result::ok).collect();
    let Some(first) = reports.iter().find(|report| report.quorum).or(reports.first()) else {
        return Observed::Unknown(why);
    };
    let mut members = BTreeMap::new();
    for member in &first.members {
        let id = member.id;
        // One that was added and never started has no name.
        let known = hosts.iter().find(|(name, _)| *name == member.name);
        let name = known.map_or_else(|| format!("{id:x}"), |(name, _)| name.clone());
        let answer = reports
            .iter()
            .find(|report| report.member_id == id)
            .map(|report| EtcdAnswer {
                version: report.version.clone(),
                leader: report.leader == id,
                db_size: report.db_size,
            });
        members.insert(
            name,
            EtcdMemberFacts {
                id: format!("{id:x}"),
                learner: member.learner,
                started: member.started,
                answer,
            },
        );
    }
    Observed::Known(EtcdFacts {
        cluster_id: format!("{:x}", first.cluster_id),
        quorum: reports.iter().any(|report| report.quorum),
        members,
    })
}

async fn ask(host: &str, credentials: &EtcdCredentials) -> Result<MemberReport, etcd_client::Error> {
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&credentials.ca))
        .identity(Identity::from_pem(&credentials.certificate, &credentials.key))
        .domain_name(host);
    let options = ConnectOptions::new()
        .with_tls(tls)
        .with_connect_timeout(DEADLINE)
        .with_timeout(DEADLINE);
    let mut client = Client::connect([format!("https://{host}:2379")], Some(options)).await?;
    let status = client.status().await?;
    // Both are answered only with a quorum; the read is linearizable.
    let quorum = client.get("health", None).await.is_ok();
    let members = match client.member_list().await {
        Ok(list) => list
            .members()
            .iter()
            .map(|member| ListedMember {
                id: member.id(),
                name: member.name().to_owned(),
                learner: member.is_learner(),
                started: !member.client_urls().is_empty(),
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let (cluster_id, member_id) = status
        .header()
        .map_or((0, 0), |header| (header.cluster_id(), header.member_id()));
    Ok(MemberReport {
        cluster_id,
        member_id,
        leader: status.leader(),
        version: status.version().to_owned(),
        db_size: u64::try_from(status.db_size()).unwrap_or(0),
        quorum,
        members,
    })
}
