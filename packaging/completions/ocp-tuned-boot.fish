# Completion for ocp-tuned-boot(8). Made by "make completion" from the tables in
# ocp_tuned_boot/commands/table.py: do not edit.

# The words of the command line that are neither options nor their values.
function __ocp_tuned_boot_words
    set -l value
    for word in (commandline -opc)[2..]
        if set -q value[1]
            set value
        else if contains -- $word --root --config --profiles --image --profile --format --boot --svg --provider --boot-conf --output --role --name --variant
            set value next
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether these are all words so far.
function __ocp_tuned_boot_is
    test "$(__ocp_tuned_boot_words | string join ' ')" = "$argv"
end

# Whether the command is this one; arguments may follow.
function __ocp_tuned_boot_runs
    set -l words (__ocp_tuned_boot_words)
    test "$words[1..$(count $argv)]" = "$argv"
end

complete -c ocp-tuned-boot -f
complete -c ocp-tuned-boot -s h -l help -d 'Show this help'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -l root -x -a '(__fish_complete_directories)' -d 'Use this directory in place of /'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -s v -l verbose -d 'Show everything'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -l version -d 'Show the version'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a apply -d 'Apply the TuneD profile, once per boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a reload -d 'Apply what has changed; used by systemctl reload ocp-tuned'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a notice -d 'Record what has changed; used by ocp-tuned.path'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a daemon -d 'Have systemd supervise TuneD; used by ocp-tuned-daemon.service'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a plan -d 'Show what apply would do; changes nothing'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a cleanup -d 'Remove the container of a run that was killed'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a status -d 'Show the result of the last run in this boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a drift -d 'Show settings that no longer have the applied value'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a verify -d 'Show whether each setting of the profile is in effect now'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a check -d 'Show what the next boot would fail at, and likely mistakes'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a gather -d 'Write what a support case needs to one archive, without secrets'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a history -d 'Show the runs of the last ten boots'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a timeline -d 'Show what the kubelet waited for in a boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a profile -d 'Show the profiles that this node can apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a image -d 'Manage the images of this node; applies nothing'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is' -a render -d 'Write a document that configures a node before its first boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is profile' -a list -d 'List the profiles on the node and in the image'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is image' -a list -d 'List the images that are known to ocp-tuned-boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is image' -a fetch -d 'Pull the requested image if it is not on the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is image' -a stage -d 'Pull an image, test it, and request it in image.env'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is image' -a prune -d 'Remove pulled images that are no longer needed'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is image' -a export -d 'Write the requested image to an archive'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a machineconfig -d 'Write a MachineConfig, for OpenShift'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a ignition -d 'Write an Ignition config (spec 3.2.0)'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a butane -d 'Write a Butane config'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a cloud-init -d 'Write user-data of cloud-init (a cloud-config)'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a kickstart -d 'Write a section %post for a kickstart file'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_is render' -a containerfile -d 'Write lines for the Containerfile of a bootc image'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs apply' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs reload' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs reload' -l force -d 'Apply the profile even if nothing has changed'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs notice' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs daemon' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs daemon' -l ended -d 'TuneD has exited: record why, and remove its container'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs plan' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs plan' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs cleanup' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs cleanup' -l purge -d 'Also remove the images and files of ocp-tuned-boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs cleanup' -l seed -d 'The same, and keep the unit, before others get a copy of this disk'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs cleanup' -l dry-run -d 'Only show what would be removed'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs status' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs status' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs drift' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs drift' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs verify' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs verify' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l image -x -d 'The image to check with, instead of the requested one'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l profile -x -d 'The profile to check, instead of the requested one'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l format -x -a 'text gcc sarif json' -d 'How it is printed: text, gcc, sarif or json; defaults to text'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs check' -l strict -d 'Exit with 65 on warnings as well'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs gather' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs gather' -F
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs history' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs timeline' -l boot -x -d '0 is this boot, the default; -1 the one before; or a boot ID'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs timeline' -l svg -r -F -d 'Write a picture to this file instead'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs timeline' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs profile list' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs profile list' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image list' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image list' -l json -d 'Print JSON'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image fetch' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image stage' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image prune' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image export' -l config -r -F -d 'Read this boot.conf only'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs image export' -F
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l output -r -F -d 'Write to this file instead of standard output'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l role -x -d 'The pool of the MachineConfig; defaults to worker'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render machineconfig' -l name -x -d 'The name of the MachineConfig; defaults to 99-ROLE-ocp-tuned-boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render ignition' -l output -r -F -d 'Write to this file instead of standard output'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l output -r -F -d 'Write to this file instead of standard output'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l role -x -d 'The pool of the MachineConfig; defaults to worker'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l name -x -d 'The name of the MachineConfig; defaults to 99-ROLE-ocp-tuned-boot'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render butane' -l variant -x -a 'fcos openshift' -d 'The Butane variant, fcos or openshift; defaults to fcos'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render cloud-init' -l output -r -F -d 'Write to this file instead of standard output'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render kickstart' -l output -r -F -d 'Write to this file instead of standard output'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l profiles -x -a '(__fish_complete_directories)' -d 'The directory that contains a directory for each custom profile'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l profile -x -d 'The profile to apply'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l image -x -d 'The image that contains TuneD'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l provider -x -d 'The name of the cloud provider'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l boot-conf -r -F -d 'The boot.conf of the node'
complete -c ocp-tuned-boot -n '__ocp_tuned_boot_runs render containerfile' -l output -r -F -d 'Write to this file instead of standard output'
