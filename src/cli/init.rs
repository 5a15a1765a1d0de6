//! `init`: makes a cluster able to hold machines: definitions, and on a real cluster the controllers.

use clap::Args;

use super::{
    args::{DryRun, DryRunArgs, WaitArgs},
    context::{App, Purpose},
    error::of_api,
    output::{self, ObjectOutput},
};
use crate::{
    client::Session,
    controllers::lease,
    error::{CommandError, ErrorKind},
    install::{self, Applied, IMAGE, Options, Provider, Request, Scope},
    time::{Clock, SystemClock},
};

/// Make a cluster able to hold machines: install definitions and controllers
///
/// It can be repeated: what is there already is left alone, or made what it should be. The embedded API server runs no pods: there it
/// installs the definitions, and `machinectl run` runs the controllers.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Providers that the controllers are set up for: docker, hollow (default: hollow, or what is installed)
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = str::parse::<Provider>)]
    infrastructure: Vec<Provider>,
    /// Install the custom resource definitions alone
    #[arg(long, conflicts_with_all = ["infrastructure", "controller_image"])]
    crds_only: bool,
    /// Image of the controllers (default: the one that `util image` makes, or what is installed)
    #[arg(long, value_name = "IMAGE")]
    controller_image: Option<String>,
    /// Take definitions over that another program has installed; its objects stay
    #[arg(long)]
    take_over: bool,
    /// Print what would be installed, and change nothing
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<ObjectOutput>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

pub(crate) async fn run(app: &App, args: InitArgs) -> Result<(), CommandError> {
    if args.output.is_some() || args.dry_run.dry_run == Some(DryRun::Client) {
        return print(app, &args);
    }
    let dry_run = args.dry_run.dry_run == Some(DryRun::Server);
    let session = app.connect_itself(Purpose::Change).await?;
    let request = request(&session, &args).await?;
    let asks = !args.infrastructure.is_empty() || args.controller_image.is_some();
    if asks && request.scope == Scope::Inventory {
        app.ui.warn(
            "nothing runs pods on the embedded API server: --infrastructure and --controller-image do nothing there",
        );
    }
    let options = Options {
        dry_run,
        take_over: args.take_over,
    };
    let applied = install::install(&session.client, &request, options).await?;
    tell(app, &applied, dry_run)?;
    if dry_run {
        return Ok(());
    }
    if request.scope == Scope::Controllers {
        if args.wait.wait {
            super::upgrade::wait(app, &session, args.wait.timeout).await?;
        }
        app.ui.say(&format!(
            "Context \"{}\" can hold machines; its controllers are installed.",
            session.target.name()
        ));
        return Ok(());
    }
    end(app, &session).await
}

/// Prints the objects. No server is asked, so that they can be kept in files.
fn print(app: &App, args: &InitArgs) -> Result<(), CommandError> {
    let scope = if args.crds_only {
        Scope::Definitions
    } else if app.choose_itself(Purpose::Change)?.0.is_embedded() {
        Scope::Inventory
    } else {
        Scope::Controllers
    };
    let providers = providers(args, None);
    let image = args.controller_image.as_deref().unwrap_or(IMAGE);
    let objects = install::everything(&Request::new(scope, providers, image), true)
        .map_err(|e| CommandError::new(ErrorKind::Failed, "can't print it").caused_by(e))?;
    match args.output {
        Some(format) => app.data(&output::made(&objects, format)?),
        None => objects
            .iter()
            .try_for_each(|object| app.data(&format!("{} (dry run)", output::name_of(object)))),
    }
}

/// What is asked for; what is not said stays as it is installed.
async fn request(session: &Session, args: &InitArgs) -> Result<Request, CommandError> {
    if args.crds_only {
        return Ok(Request::new(Scope::Definitions, Vec::new(), IMAGE));
    }
    let scope = if session.target.is_embedded() {
        Scope::Inventory
    } else {
        Scope::Controllers
    };
    let installed = install::inventory_of(&session.client).await?;
    let image = args.controller_image.clone();
    let image = image.or_else(|| installed.as_ref()?.image.clone());
    let providers = if scope == Scope::Inventory && args.infrastructure.is_empty() {
        Provider::ALL.to_vec()
    } else {
        providers(args, installed.map(|i| i.providers))
    };
    Ok(Request::new(
        scope,
        providers,
        image.unwrap_or_else(|| IMAGE.to_owned()),
    ))
}

fn providers(args: &InitArgs, installed: Option<Vec<Provider>>) -> Vec<Provider> {
    if !args.infrastructure.is_empty() {
        return args.infrastructure.clone();
    }
    installed
        .filter(|i| !i.is_empty())
        .unwrap_or_else(|| vec![Provider::Hollow])
}

/// Prints what became of each object.
pub(super) fn tell(app: &App, applied: &[Applied], dry_run: bool) -> Result<(), CommandError> {
    for Applied {
        name,
        change,
        unchecked,
    } in applied
    {
        let suffix = match (dry_run, unchecked) {
            (true, true) => " (server dry run, not checked: its namespace is not there yet)",
            (true, false) => " (server dry run)",
            (false, _) => "",
        };
        app.data(&format!("{name} {}{suffix}", change.word()))?;
    }
    Ok(())
}

/// Says that nobody acts yet.
async fn end(app: &App, session: &Session) -> Result<(), CommandError> {
    app.ui.say(&format!(
        "Context \"{}\" can hold machines.",
        session.target.name()
    ));
    let flag = if session.target.is_embedded() {
        " --embedded".to_owned()
    } else {
        format!(" --context {}", session.target.name())
    };
    let holder = lease::holder(&session.client, SystemClock.now())
        .await
        .map_err(|e| of_api("can't see whether controllers run there", e))?;
    if holder.is_none() {
        app.ui.say(&format!(
            "Its machines come alive while controllers run: machinectl run{flag}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_are_started_with_arguments_that_exist() {
        let request = Request::new(Scope::Controllers, Provider::ALL.to_vec(), IMAGE);
        let objects = install::everything(&request, true).unwrap();
        let deployment = objects.iter().find(|o| o["kind"] == "Deployment").unwrap();
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let arguments = arguments.as_array().unwrap().iter();
        let words = arguments.map(|a| a.as_str().unwrap().to_owned());
        let line = std::iter::once("machinectl".to_owned()).chain(words);
        crate::cli::command().try_get_matches_from(line).unwrap();
    }
}
