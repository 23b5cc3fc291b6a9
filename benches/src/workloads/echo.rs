//! [`echo`]: every client asks, and asks again when it has its answer.

use super::crowd::Crowd;
use super::message::{Failure, PAYLOAD, SILENCE};
use crate::server::Server;

/// Questions of each client that are not counted.
const WARM_UP: usize = 5;

/// Nanoseconds of the server's processor time for each event with its acknowledgement; each client has one under way.
///
/// # Errors
/// The server does not answer as it should.
pub fn echo(server: &Server, clients: usize, each: usize) -> Result<f64, Failure> {
    let mut crowd = Crowd::new(clients, |_| server.address, |_, _| Ok(()))?;
    let mut asked = vec![0; clients];
    let question = |number: usize| format!(r#"42{number}["echo","{number:x<PAYLOAD$}"]"#);
    let mut run = |until: usize| -> Result<usize, Failure> {
        let mut answers = 0;
        let first = asked[0];
        for (asked, member) in asked.iter_mut().zip(&mut crowd.members) {
            member.send(&question(*asked))?;
            *asked += 1;
        }
        let wanted = clients * (until - first);
        while answers < wanted {
            crowd.read(SILENCE, |number, member, packet| {
                if packet.starts_with(b"42[\"auth\"") {
                    // What the conformance server and its twin greet with.
                    return Ok(());
                }
                let last = asked[number] - 1;
                if packet != format!(r#"43{last}["{last:x<PAYLOAD$}"]"#).as_bytes() {
                    let got = String::from_utf8_lossy(packet).into_owned();
                    return Err(format!("a client got {got} for question {last}").into());
                }
                answers += 1;
                if asked[number] < until {
                    member.send(&question(asked[number]))?;
                    asked[number] += 1;
                }
                Ok(())
            })?;
        }
        Ok(answers)
    };
    run(WARM_UP)?;
    let before = server.process.cpu_nanoseconds()?;
    let answers = run(WARM_UP + each)?;
    let spent = server.process.cpu_nanoseconds()? - before;
    Ok(spent as f64 / answers as f64)
}
