//! [`echo`]: every client sends a request, and the next one when it has the answer.

use super::crowd::Crowd;
use super::message::{Failure, PAYLOAD, SILENCE};
use crate::server::Server;

/// Requests of each client before those that are counted.
const WARM_UP: usize = 5;

/// Processor time of the server per event with its acknowledgement, in nanoseconds. Each client has one event in flight. The program
/// `roomcast` has no echo: its clients leave rooms in which they are not.
///
/// # Errors
/// The server fails, or an answer is wrong.
pub fn echo(server: &Server, clients: usize, each: usize, program: bool) -> Result<f64, Failure> {
    let mut crowd = Crowd::new(clients, |_| server.address, |_, _| Ok(()))?;
    let mut asked = vec![0; clients];
    let event = if program { "leave" } else { "echo" };
    let question = |number: usize| format!(r#"42{number}["{event}","{number:x<PAYLOAD$}"]"#);
    let answer = |number: usize| match program {
        true => format!(r#"43{number}[{{"members":0,"ok":true,"room":"{number:x<PAYLOAD$}"}}]"#),
        false => format!(r#"43{number}["{number:x<PAYLOAD$}"]"#),
    };
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
                    // The greeting of the conformance server and its counterpart on Node.
                    return Ok(());
                }
                let last = asked[number] - 1;
                if packet != answer(last).as_bytes() {
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
