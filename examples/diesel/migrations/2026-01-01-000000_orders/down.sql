drop table orders;
delete from enroll.steps where organization_id = '00000000-0000-7000-8000-000000000001';
delete from enroll.sequences where organization_id = '00000000-0000-7000-8000-000000000001';
delete from enroll.channels where organization_id = '00000000-0000-7000-8000-000000000001';
