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
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "init" -d 'Make a cluster able to hold machines: install the custom resource definitions'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "create" -d 'Make a cluster or a machine, and wait until it runs'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "apply" -d 'Make objects be what files say'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "get" -d 'Show objects'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "describe" -d 'Show objects in detail; a cluster as a tree with its machines and what is wrong with them'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "delete" -d 'Delete objects; delete a cluster with all that belongs to it'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "kubeconfig" -d 'Print the kubeconfig of a cluster, or merge it into your own'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "load" -d 'Copy images into the nodes of a local cluster'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "run" -d 'Run the controllers until interrupted'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "serve" -d 'Serve the API server in this program to kubectl and others, until interrupted'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "completion" -d 'Print the completion script of a shell'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "version" -d 'Print the version of this program'
complete -c machinectl -n "__fish_machinectl_needs_command" -f -a "util" -d 'Write files that are generated from this program'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l dry-run -d 'Change nothing: `client` prints what would be sent, `server` lets the API server check it' -r -f -a "client\t'Ask no server; print what would be sent'
server\t'Let the server check it and keep nothing'"
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -f -a "cluster" -d 'Make a local cluster and wait until it can be used'
complete -c machinectl -n "__fish_machinectl_using_subcommand create; and not __fish_seen_subcommand_from cluster machine" -f -a "machine" -d 'Make a machine and wait until its Node exists'
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
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l ignore-not-found -d 'Succeed when a named object does not exist'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s l -l selector -d 'Show objects with these labels' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l expand -d 'Show each machine of a cluster on a line of its own'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand describe" -s h -l help -d 'Print help'
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
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l merge -d 'Merge it into the kubeconfig in place of printing it'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand kubeconfig" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and not __fish_seen_subcommand_from image" -f -a "image" -d 'Copy images of the Docker daemon into the nodes of a local cluster'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l cluster -d 'Cluster; by default that of the current context' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand load; and __fish_seen_subcommand_from image" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l listen -d 'Address to listen on; by default a port of 127.0.0.1 that stays the same' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c machinectl -n "__fish_machinectl_using_subcommand serve" -l listen -d 'Address to listen on; by default a port of 127.0.0.1 that stays the same' -r
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
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -l context -d 'Context of the kubeconfig to use' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -l kubeconfig -d 'Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config' -r -F
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -s n -l namespace -d 'Namespace of the objects' -r
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -l embedded -d 'Use the API server in this program, whatever the kubeconfig says'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -s v -l verbose -d 'Say more: log on standard error (can be repeated)'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -s q -l quiet -d 'Say nothing but errors'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -s h -l help -d 'Print help'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -f -a "crds" -d 'Print the custom resource definitions, or write one file each'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -f -a "completions" -d 'Write the completion scripts'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -f -a "docs" -d 'Print the reference of all commands, or write it'
complete -c machinectl -n "__fish_machinectl_using_subcommand util; and not __fish_seen_subcommand_from crds completions docs man" -f -a "man" -d 'Write the manual pages'
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
