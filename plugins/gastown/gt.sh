# shellcheck shell=sh
# Source this in ~/.bashrc or ~/.zshrc: `gt swarm …` and `gt smart-sling …` then work beside gt's own commands.
gt() {
    case ${1-} in
    swarm)
        shift
        command gt-swarm "$@"
        ;;
    smart-sling)
        shift
        command gt-smart-sling "$@"
        ;;
    *) command gt "$@" ;;
    esac
}
