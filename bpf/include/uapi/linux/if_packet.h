/* Empty on purpose: BCC includes it, kpath needs nothing of it. */
