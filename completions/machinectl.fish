# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_machinectl_global_optspecs
    string join \n context= kubeconfig= embedded n/namespace= v/verbose q/quiet h/help V/version
end

function __fish_machinectl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_machinectl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_machinectl_using_subcommand
    set -l cmd (__fish_machinectl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c machinectl -n "__fish_machinectl_needs_command" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_needs_command" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_needs_command" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_needs_command" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_needs_command" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_needs_command" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_needs_command" -s V -l version -d 'Print version'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "init" -d 'Make a cluster able to hold machines: install definitions and controllers'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "upgrade" -d 'Bring what is installed to the version of this program'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "uninstall" -d 'Take away what `init` has installed'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "create" -d 'Make a cluster, a machine or a group of machines, and wait until it runs'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "apply" -d 'Make objects be what files say'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "get" -d 'Show objects'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "describe" -d 'Show objects in detail; clusters and groups as a tree with their machines and what is wrong with them'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "rollout" -d 'Follow roll-outs of machine deployments, stop them, take them back'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "scale" -d 'Set how many machines a MachineSet or MachineDeployment has, and wait until they run'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "delete" -d 'Delete objects; delete a cluster with all that belongs to it'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "drain" -d 'Move the pods off the Node of a machine, and keep new ones away'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "move" -d 'Move clusters and their machines to another management cluster'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "kubeconfig" -d 'Print the kubeconfig of a cluster, or merge it into your own'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "load" -d 'Put images into the nodes of a local cluster'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "run" -d 'Run the controllers until interrupted'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "serve" -d 'Serve the API server in this program to kubectl and others, until interrupted'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "completion" -d 'Print the completion script of a shell'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "version" -d 'Print the version of this program'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "util" -d 'Write files that are generated from this program'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s i -l infrastructure -d 'Providers that the controllers are set up for: docker, hollow (default: hollow, or what is installed)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l controller-image -d 'Image of the controllers (default: the one that `util image` makes, or what is installed)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s o -l output -d 'Print what would be installed, and change nothing' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l crds-only -d 'Install the custom resource definitions alone'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l take-over -d 'Take definitions over that another program has installed; its objects stay'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -f -a "plan" -d 'Show what an upgrade would change'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and not __fish_seen_subcommand_from plan apply" -f -a "apply" -d 'Upgrade: definitions, stored objects, rights, controllers'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -l controller-image -d 'Image of the controllers (default: the installed one with the tag of the new version)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -s o -l output -d 'How to print it: json or yaml' -r -f -a "json\t''
yaml\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l controller-image -d 'Image of the controllers (default: the installed one with the tag of the new version)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand upgrade; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l timeout -d 'Give up after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l include-crds -d 'Remove the definitions too, and all objects of their kinds; what these stand for keeps running'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l leave-machines -d 'Do it though machines exist: they run on, and nobody looks after them'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -s y -l yes -d 'Do not ask'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "cluster" -d 'Make a local cluster and wait until it can be used'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "machine" -d 'Make a machine and wait until its Node exists'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "machineset" -d 'Make a set of equal machines and wait until they all run'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "ms" -d 'Make a set of equal machines and wait until they all run'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "machinedeployment" -d 'Make a deployment of equal machines and wait until they all run'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "md" -d 'Make a deployment of equal machines and wait until they all run'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "machinehealthcheck" -d 'Make a health check, which has broken machines replaced'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine machineset ms machinedeployment md machinehealthcheck mhc" -f -a "mhc" -d 'Make a health check, which has broken machines replaced'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l infrastructure -d 'Where its machines come from' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l image -d 'Node image; by default kindest/node of the Kubernetes version' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l workers -d 'Number of workers' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -s c -l config -d 'Configuration file, a `ClusterConfiguration` of cinder; - is standard input' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l pivot -d 'Let the cluster manage itself: install the controllers in it and move its objects there'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from cluster" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l cluster -d 'Cluster that it joins' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l infrastructure -d 'Where it comes from' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l image -d 'Node image' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l config -d 'Config that it runs first' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machine" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l replicas -d 'Number of machines' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l cluster -d 'Cluster that they join' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l infrastructure -d 'Where they come from; a template of that kind is made, and goes with the group' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l infrastructure-template -d 'Template that exists already, for example `hollowmachinetemplate/big`' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l image -d 'Node image' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l config -d 'Config that they run first' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l label -d 'Label of the machines (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l delete-policy -d 'Which machines go first when the group shrinks' -r -f -a "Random\t'Any'
Newest\t'The youngest'
Oldest\t'The oldest'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l min-ready-seconds -d 'Seconds for which a Node must be Ready before its machine counts as available' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machineset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l replicas -d 'Number of machines' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l cluster -d 'Cluster that they join' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l infrastructure -d 'Where they come from; a template of that kind is made, and goes with the group' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l infrastructure-template -d 'Template that exists already, for example `hollowmachinetemplate/big`' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l image -d 'Node image' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l config -d 'Config that they run first' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l label -d 'Label of the machines (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l delete-policy -d 'Which machines go first when the group shrinks' -r -f -a "Random\t'Any'
Newest\t'The youngest'
Oldest\t'The oldest'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l min-ready-seconds -d 'Seconds for which a Node must be Ready before its machine counts as available' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from ms" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l replicas -d 'Number of machines' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l cluster -d 'Cluster that they join' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l infrastructure -d 'Where they come from; a template of that kind is made, and goes with the group' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l infrastructure-template -d 'Template that exists already, for example `hollowmachinetemplate/big`' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l image -d 'Node image' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l config -d 'Config that they run first' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l label -d 'Label of the machines (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l delete-policy -d 'Which machines go first when the group shrinks' -r -f -a "Random\t'Any'
Newest\t'The youngest'
Oldest\t'The oldest'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l min-ready-seconds -d 'Seconds for which a Node must be Ready before its machine counts as available' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l strategy -d 'How a change reaches the machines' -r -f -a "RollingUpdate\t'New machines take the place of old ones step by step'
OnDelete\t'An old machine is replaced when somebody deletes it'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l max-surge -d 'How many machines may exist beyond the wanted number while a change is rolled out: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l max-unavailable -d 'How many machines may be unavailable while a change is rolled out: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinedeployment" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l replicas -d 'Number of machines' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l cluster -d 'Cluster that they join' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l infrastructure -d 'Where they come from; a template of that kind is made, and goes with the group' -r -f -a "docker\t'Containers on a Docker host'
hollow\t'Node objects without hardware'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l infrastructure-template -d 'Template that exists already, for example `hollowmachinetemplate/big`' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l image -d 'Node image' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l config -d 'Config that they run first' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l kubernetes-version -d 'Kubernetes version, for example v1.35.0' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l label -d 'Label of the machines (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l delete-policy -d 'Which machines go first when the group shrinks' -r -f -a "Random\t'Any'
Newest\t'The youngest'
Oldest\t'The oldest'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l min-ready-seconds -d 'Seconds for which a Node must be Ready before its machine counts as available' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l strategy -d 'How a change reaches the machines' -r -f -a "RollingUpdate\t'New machines take the place of old ones step by step'
OnDelete\t'An old machine is replaced when somebody deletes it'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l max-surge -d 'How many machines may exist beyond the wanted number while a change is rolled out: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l max-unavailable -d 'How many machines may be unavailable while a change is rolled out: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from md" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s l -l selector -d 'Machines that it watches, for example pool=blue; by default all, of the cluster if one is named' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l cluster -d 'Cluster whose machines it watches' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l max-unhealthy -d 'How many machines may be broken for replacement to go on: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l max-in-flight -d 'How many machines may be under replacement at once: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l unhealthy-condition -d 'Node condition that makes a machine broken, and for how long it has to be so, for example Ready=Unknown:5m (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l node-startup-timeout -d 'How long a machine may take to become a Node, for example 10m; 0: for ever' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from machinehealthcheck" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s l -l selector -d 'Machines that it watches, for example pool=blue; by default all, of the cluster if one is named' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l cluster -d 'Cluster whose machines it watches' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l max-unhealthy -d 'How many machines may be broken for replacement to go on: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l max-in-flight -d 'How many machines may be under replacement at once: a number or a percentage' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l unhealthy-condition -d 'Node condition that makes a machine broken, and for how long it has to be so, for example Ready=Unknown:5m (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l node-startup-timeout -d 'How long a machine may take to become a Node, for example 10m; 0: for ever' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s o -l output -d 'How to print what was made' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and __fish_seen_subcommand_from mhc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -s f -l filename -d 'File or folder with objects as YAML or JSON; - is standard input (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l validate -d 'What to do about fields that the kind does not have' -r -f -a "strict\t'Refuse the object'
warn\t'Warn, and leave the field out'
ignore\t'Leave the field out'"
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l wait -d 'Wait until the Machines run; by default where this command runs the controllers itself' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l force-conflicts -d 'Take over fields that somebody else has set'
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s l -l selector -d 'Show objects with these labels, for example a=b,c!=d' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l field-selector -d 'Show objects with these fields, for example metadata.name=x' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s o -l output -d 'How to print' -r -f -a "table\t'Columns'
wide\t'More columns'
json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s A -l all-namespaces -d 'Show objects of all namespaces'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s w -l watch -d 'Go on showing changes until interrupted'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l no-headers -d 'Print no column names'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l show-labels -d 'Print the labels too'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l show-managed-fields -d 'Print who owns which field, too (-o json, -o yaml)'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l ignore-not-found -d 'Succeed when a named object does not exist'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s l -l selector -d 'Show objects with these labels' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l expand -d 'Show each machine of a cluster or group on a line of its own'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "status" -d 'Say how far roll-outs are, until they are done'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "history" -d 'Show which revisions are kept, or one of them'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "undo" -d 'Go back to an earlier revision, and wait until it is rolled out'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "pause" -d 'Let changes of the template wait'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "resume" -d 'Go on with what was paused, and wait until it is rolled out'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and not __fish_seen_subcommand_from status history undo pause resume restart" -f -a "restart" -d 'Replace all machines by new ones of the same template, and wait until that is done'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -s w -l watch -d 'Follow it until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -l revision -d 'Give up when another revision than this one is rolled out' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -l revision -d 'Show the machine template of this revision' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l to-revision -d 'Revision to go back to; 0: the one before the present one' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand rollout; and __fish_seen_subcommand_from restart" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l replicas -d 'How many there should be' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l current-replicas -d 'Do it only if this is the present number' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l resource-version -d 'Do it only if the object has this resource version' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand scale" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s f -l filename -d 'File or folder with the objects to delete; - is standard input (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s l -l selector -d 'Delete objects with these labels' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l wait -d 'Wait until it is done' -r -f -a "true\t''
false\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l all -d 'Delete all objects of the kind in the namespace'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s y -l yes -d 'Do not ask'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l ignore-not-found -d 'Succeed when an object does not exist'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -l timeout -d 'Give up after this time, for example 90s; 0: never. What was evicted stays evicted' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand drain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l to-context -d 'Context of the cluster that the objects move to; "embedded" is the API server in this program' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l to-kubeconfig -d 'Kubeconfig file of the cluster that the objects move to' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l to-directory -d 'Write the objects into this directory and leave the cluster as it is' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l from-directory -d 'Bring the objects of this directory into the cluster' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l encrypt-to -d 'Encrypt each object for this reader: an age recipient, or a file of them (can be repeated)' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l identity -d 'File with the age identity that reads what is encrypted (can be repeated)' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l filter-cluster -d 'Move only this Cluster and what belongs to it' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l timeout -d 'Give up waiting after this time, for example 90s; 0: never' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l request-timeout -d 'An answer of an API server may take this long' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s o -l output -d 'Write a report to standard output: json' -r -f -a "json\t''"
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l keep-existing -d 'Leave objects that are there already as they are'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s A -l all-namespaces -d 'Move the objects of all namespaces'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l dry-run -d 'Change nothing: check everything, and say what would move'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l abort -d 'Undo a move, or a restore, that was interrupted before it had committed'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l status -d 'Say how far a move, or a restore, is that was interrupted'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s y -l yes -d 'Do not ask'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l wait -d 'Wait until machines that still come to be, or go, have settled'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand move" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l merge -d 'Merge it into the kubeconfig in place of printing it'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -f -a "image" -d 'Put images into the nodes of a local cluster: archives, or images of the Docker daemon'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -f -a "docker-image" -d 'Put images of the Docker daemon into nodes, as kind does'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image docker-image image-archive" -f -a "image-archive" -d 'Put the images of archives into nodes, as kind does'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l cluster -d 'Cluster; by default that of the current context' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l nodes -d 'Only these nodes' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s o -l output -d 'Print what became of each image in each node as JSON' -r -f -a "json\t'JSON'"
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -l cluster -d 'Cluster; by default that of the current context' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -l nodes -d 'Only these nodes' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -s o -l output -d 'Print what became of each image in each node as JSON' -r -f -a "json\t'JSON'"
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from docker-image" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -l cluster -d 'Cluster; by default that of the current context' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -l nodes -d 'Only these nodes' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -s o -l output -d 'Print what became of each image in each node as JSON' -r -f -a "json\t'JSON'"
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image-archive" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l listen -d 'Address to listen on; by default a port of 127.0.0.1 that stays the same' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l audit-log -d 'Write a line of JSON for each request (audit.k8s.io/v1, level Metadata) to the end of this file' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l metrics-addr -d 'Serve /metrics, /healthz, /livez and /readyz here, without TLS: ADDRESS:PORT, or :PORT for all addresses; 0: nowhere' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l controllers -d 'Run these controllers only: names with commas; * stands for all, -NAME leaves one out' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l log-format -d 'How the story and the logs are written: as lines for people, or as one JSON object a line' -r -f -a "text\t'Lines for people'
json\t'One JSON object a line: timestamp, level, message, and what else is known'"
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l compat-metrics -d 'Serve the metrics of machines a second time, under their mapi_… names'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s A -l all-namespaces -d 'Act on the objects of all namespaces, which is the default; --namespace restricts it to one'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l state -d 'Folder of the state, made if it is missing; by default that of the API server in this program' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l listen -d 'Address to listen on; by default a port of 127.0.0.1 that stays the same' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l audit-log -d 'Write a line of JSON for each request (audit.k8s.io/v1, level Metadata) to the end of this file' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -s o -l output -d 'How to print' -r -f -a "table\t'Columns'
wide\t'More columns'
json\t'JSON'
yaml\t'YAML'
name\t'kind/name'"
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "crds" -d 'Print the custom resource definitions, or write one file each'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "completions" -d 'Write the completion scripts'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "docs" -d 'Print the reference of all commands, or write it'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "man" -d 'Write the manual pages'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "image" -d 'Write an image of this program, for `machinectl load image`, `docker load` or a registry'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man image state" -f -a "state" -d 'Look after the state of the API server in this program, while it does not run'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -l dir -d 'Folder to write into; without it the result is printed' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -l check -d 'Write nothing, and fail when the files in the folder differ; by default that of the same name as the command'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from crds" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -l dir -d 'Folder to write into; without it the result is printed' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -l check -d 'Write nothing, and fail when the files in the folder differ; by default that of the same name as the command'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -l dir -d 'Folder to write into; without it the result is printed' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -l check -d 'Write nothing, and fail when the files in the folder differ; by default that of the same name as the command'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from docs" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -l dir -d 'Folder to write into; without it the result is printed' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -l check -d 'Write nothing, and fail when the files in the folder differ; by default that of the same name as the command'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l name -d 'What the image is called' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l program -d 'The program; this one unless another is named' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -s o -l output -d 'File to write; - is standard output' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l force -d 'Replace the file even if it is no image'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from image" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -f -a "check" -d 'Read all of a state against its checksums, and say what is in it'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -f -a "compact" -d 'Make the file of a state small: the room of removed objects is given back to the disk'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and __fish_seen_subcommand_from state" -f -a "export" -d 'Print all objects of a state as one YAML List, as they are stored'
