//! An agent and a visit of a node's file.

use anyhow::ensure;
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::bed::{Bed, DOOR, HOST, LIMIT, TUNNEL, binary};

#[test]
fn an_agent_and_a_visit_of_a_file_use_a_server_and_a_reload_leads_elsewhere_without_a_gap() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("ws", &["-user", "ada:secret"])?;
        let (one, two) = (bed.echo("127.0.0.1:0")?, bed.echo("127.0.0.1:0")?);
        let config = |to: &str, weight: u32| {
            format!(
                "[node]\nid = \"site\"\nscript_user = \"root\"\n\n\
                 [[agent]]\nhubs = [\"gost+ws://localhost:8421\"]\nuser = \"ada\"\npassword = \"secret\"\n\
                 [[agent.offer]]\ntunnel = \"{TUNNEL}\"\nto = [\"{to}\"]\nweight = {weight}\n\n\
                 [[visit]]\nhubs = [\"gost+ws://localhost:8421\"]\nuser = \"ada\"\npassword = \"secret\"\n\
                 [[visit.tunnel]]\nid = \"{TUNNEL}\"\nlisten = \"{DOOR}\"\nhost = \"dash:80\"\n"
            )
        };
        let node = Mainstay::start(&bed.host, &binary(), &config(&one.text(), 1))?;
        server.wait_for("bound", LIMIT)?;
        node.daemon().wait_until("it answers", LIMIT, || Ok(bed.answers(DOOR)))?;
        let status = node.status_json()?;
        let agent = &status["agents"][0];
        ensure!(agent["offers"][0]["served"][0] == format!("http://{HOST}.localhost"), "{agent}");
        ensure!(agent["hubs"][0]["hub"] == "gost+ws://localhost:8421", "{agent}");
        ensure!(agent["hubs"][0]["sessions"] == 1 && agent["hubs"][0]["places"] == 1, "{agent}");

        // Another target only: the session stays.
        std::fs::write(node.config_path(), config(&two.text(), 1))?;
        node.say(&["reload"])?;
        drop(one);
        bed.echoed(DOOR, b"by the other")?;
        ensure!(server.count("bound") == 1, "{}", server.daemon().log());

        // Another weight has to be told: a successor binds before its predecessor goes.
        std::fs::write(node.config_path(), config(&two.text(), 9))?;
        node.say(&["reload"])?;
        server.daemon().wait_until("its successor is bound", LIMIT, || Ok(server.count("bound") == 2))?;
        server.daemon().wait_until("it has gone", LIMIT, || Ok(server.count("lost") == 1))?;
        for _ in 0..5 {
            bed.echoed(DOOR, b"by the successor")?;
        }
        Ok(())
    });
}
