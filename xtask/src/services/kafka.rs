//! Runs Kafka from its jars, as one node that is broker and controller.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::local;
use super::location::Location;
use super::server::Server;

pub struct Kafka;

/// The id of the cluster: 16 bytes in base64, which never change.
const CLUSTER_ID: &str = "Z29vZHBvbi1zZXJ2aWNlcw";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>3.9.1</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// Writes the configuration. With its last two lines a broker that was killed is taken back after some seconds rather
/// than 15. Clients of the listener PROXIED get the proxy's address for all further connections.
fn configuration(folder: &str, location: &Location) -> String {
    let (port, controller, behind, front) = (
        location.port,
        location.inner,
        location.behind,
        location.front,
    );
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{front}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"
    )
}

/// Makes a command that runs a class of Kafka's.
fn java(programs: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "-Xms256m",
            "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .arg(programs.join("libs/*"))
        .arg(class);
    command
}

impl Server for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn variable(&self) -> &'static str {
        "GOODPON_KAFKA_BROKERS"
    }

    fn url(&self, port: u16) -> String {
        format!("127.0.0.1:{port}")
    }

    fn install(&self, programs: &Path) -> Result<()> {
        if local::program("java").is_none() {
            local::install_packages(&["openjdk-17-jre-headless"], "Java")?;
        }
        // Written last, so that a download that was cut off is repeated.
        let done = programs.join("libs/done");
        if done.is_file() {
            return Ok(());
        }
        if local::program("mvn").is_none() {
            local::install_packages(&["maven"], "Maven")?;
        }
        eprintln!("downloading Kafka's jars ...");
        fs::write(programs.join("pom.xml"), POM)?;
        let mut download = Command::new("mvn");
        download
            .current_dir(programs)
            .args([
                "-q",
                "-B",
                "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
            ])
            .arg("-DoutputDirectory=libs");
        local::quietly(&mut download).context(
            "Kafka's jars cannot be had: give GOODPON_KAFKA_BROKERS of a Kafka that runs",
        )?;
        fs::write(done, "").map_err(Into::into)
    }

    fn prepare(&self, location: &Location, programs: &Path) -> Result<Command> {
        let file = location.folder.join("server.properties");
        let path = location.folder.to_str();
        let path = path.context("the target folder's path is no UTF-8")?;
        fs::write(&file, configuration(path, location))?;
        if !location.data().join("meta.properties").is_file() {
            let mut format = java(programs, "kafka.tools.StorageTool");
            local::quietly(format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(&file))?;
        }
        let mut command = java(programs, "kafka.Kafka");
        command.arg(file);
        Ok(command)
    }

    fn data_in_container(&self) -> &'static str {
        "/var/lib/kafka/data"
    }

    /// Asks for the brokers: the port is open before the controller has taken the broker in.
    fn is_ready(&self, port: u16) -> bool {
        brokers(port).is_ok_and(|count| count > 0)
    }
}

/// Counts the brokers that a server lists (Metadata request of version 0, for all topics).
fn brokers(port: u16) -> Result<i32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Length; kind 3 of version 0; correlation 1; no client id; no topics.
    stream.write_all(&[0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 255, 255, 0, 0, 0, 0])?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    if head[4..8] != [0, 0, 0, 1] {
        bail!("no answer to the request");
    }
    Ok(i32::from_be_bytes([a, b, c, d]))
}
