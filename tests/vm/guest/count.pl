#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-only
#
# count.pl MAP WHO EACH: counts to EACH in the first sector of MAP with COMPARE AND WRITE, against the other worker (WHO
# is 0 or 1). The sector is `COUNT COUNT`, a count of each worker. Whenever a worker reads it, its own count is what it
# has made; one more if the last command's fate was unknown; anything else is a lost update.
use strict;
use warnings;
use constant { SG_IO => 0x2285, TO_DEVICE => -2, FROM_DEVICE => -3, MISCOMPARE => 14 };

my ($map, $me, $each) = @ARGV;
open(my $disk, '+<', $map) or die "$map: $!\n";

# Sends a command. 'done', 'differs' (it was not carried out), or what is known of its fate.
sub command {
    my ($block, $direction, $data) = @_;
    my $sense = "\0" x 32;
    my $header = pack('l l C C S L P P P L x48', ord('S'), $direction, length($block), 32, 0, length($$data),
        $$data, $block, $sense, 20000);
    ioctl($disk, SG_IO, $header) or return "ioctl: $!";
    my ($status, $host) = unpack('x64 C x3 S', $header);
    return 'done' if $status == 0 && $host == 0;
    my $key = ord(substr($sense, ord($sense) & 2 ? 1 : 2, 1)) & 15;
    return $status == 2 && $key == MISCOMPARE ? 'differs' : "status $status host $host key $key";
}

sub sector { return sprintf('%-512s', "@_") }

# The two counts. Another path is found by the kernel's own reads only: those go on when this one does not serve.
sub look {
    for (;;) {
        my $data = ' ' x 512;
        my $text = command(pack('C10', 0x28, (0) x 7, 1, 0), FROM_DEVICE, \$data) eq 'done'
            ? $data : `dd if=$map bs=512 count=1 iflag=direct 2>/dev/null`;
        return ($1, $2) if $text =~ /^(\d+) (\d+) /;
    }
}

my @counts = look();
my ($made, $lost_races, $unknown) = (0, 0, 0);
while ($made < $each) {
    my @next = @counts;
    $next[$me]++;
    my $data = sector(@counts) . sector(@next);
    my $fate = command(pack('C16', 0x89, (0) x 12, 1, 0, 0), TO_DEVICE, \$data);
    if ($fate eq 'done') {
        $made++;
        @counts = @next;
        next;
    }
    @counts = look();
    if ($fate eq 'differs') { $lost_races++ } else { $unknown++ }
    if ($fate ne 'differs' && $counts[$me] == $made + 1) {
        $made++;
    } elsif ($counts[$me] != $made) {
        die "worker $me made $made, and reads @counts after '$fate': an update is lost\n";
    }
}
print "worker $me made $made; lost $lost_races races; $unknown commands with an unknown fate\n";
